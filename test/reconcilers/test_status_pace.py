import pytest

from kubetask_controller.reconcilers.status_writer import (
    MAX_INTERVAL,
    MIN_INTERVAL,
    SHARE,
    write_interval,
)


@pytest.mark.parametrize(
    ("seconds", "interval"),
    [(0.0, MIN_INTERVAL), (0.01, MIN_INTERVAL), (0.5, 10.0), (2.0, 40.0), (15.0, MAX_INTERVAL)],
)
def test_writing_a_status_takes_a_twentieth_of_the_time_at_most(seconds, interval):
    assert write_interval(seconds, SHARE) == pytest.approx(interval)
