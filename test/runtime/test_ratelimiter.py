import pytest

from kubetask_controller.runtime.workqueue import (
    ItemExponentialFailureRateLimiter,
)


def test_the_delay_of_an_item_doubles_with_each_failure_up_to_the_cap():
    limiter = ItemExponentialFailureRateLimiter()
    delays = [limiter.when("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[17] == pytest.approx(655.36)
    assert delays[18:] == [1000, 1000]


def test_items_fail_each_on_its_own():
    limiter = ItemExponentialFailureRateLimiter(1, 60)
    assert [limiter.when("a"), limiter.when("a"), limiter.when("b")] == [1, 2, 1]
    assert (limiter.num_requeues("a"), limiter.num_requeues("c")) == (2, 0)


def test_a_forgotten_item_starts_over():
    limiter = ItemExponentialFailureRateLimiter(1, 60)
    limiter.when("a")
    limiter.when("a")
    limiter.forget("a")
    limiter.forget("never failed")
    assert limiter.num_requeues("a") == 0
    assert limiter.when("a") == 1


def test_an_item_that_has_failed_for_ages_stays_at_the_cap():
    limiter = ItemExponentialFailureRateLimiter(1, 1000)
    for _ in range(2000):
        delay = limiter.when("a")
    assert delay == 1000
    assert limiter.num_requeues("a") == 2000
