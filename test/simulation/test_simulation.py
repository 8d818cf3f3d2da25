"""The reconcilers in a simulated cluster: 2,000 schedules, those that failed once, and that runs can be repeated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCHEDULES = 2000


def simulate(*arguments, **environment):
    """The command, in a process of its own: what it patches and freezes is not for other tests."""
    return subprocess.run(
        [sys.executable, "-m", "simulation.simulate", *map(str, arguments)],
        cwd=HERE.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow(60)
@pytest.mark.timeout(600)
def test_no_schedule_of_faults_breaks_what_is_promised():
    done = simulate(SCHEDULES, "--workers", 2, "--most", 1)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert f"{SCHEDULES} schedules of the seeds 0 to {SCHEDULES - 1}: 0 violations" in done.stdout


def test_schedules_that_failed_once_hold():
    done = simulate("--cases")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == len(list((HERE / "cases").glob("*.json")))


@pytest.mark.slow
def test_a_schedule_runs_the_same_way_in_every_process():
    first, second = (simulate("--digests", 20, PYTHONHASHSEED=str(x)) for x in (1, 2))
    assert first.returncode == 0, first.stderr
    assert len(set(first.stdout.split())) == 20
    assert first.stdout == second.stdout
