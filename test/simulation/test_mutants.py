"""The simulation can fail: each fault that the reconcilers once had is put back, one at a time, and found.

A mutant is a patch of the product with two lines on top: what is wrong with it, and a seed that showed it, which only saves
time. Where that seed finds nothing any more, the schedules of the whole test are searched. A patch that does not apply any
more is to be written anew: the fault that it stands for can still be made.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.test_simulation import HERE, SCHEDULES

ROOT = HERE.parent.parent
MUTANTS = sorted((HERE / "mutants").glob("*.patch"))


def finds(source: Path, *arguments: object) -> str:
    """The violations that the simulation finds in the product at that place."""
    done = subprocess.run(
        [sys.executable, "-m", "simulation.simulate", *map(str, arguments), "--most", "1", "--brief"],
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr or "schedules" in done.stderr, done.stderr[-3000:]
    assert (done.returncode == 1) == ("0 violations" not in done.stdout), done.stdout[-3000:]
    return done.stdout if done.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda x: x.stem)
def test_a_fault_that_is_put_back_is_found(mutant, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    apart = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(["git", "apply", str(mutant)], cwd=tmp_path, env=apart, check=True, timeout=30)
    hint = re.search(r"^Seed: (\d+)$", mutant.read_text(), re.MULTILINE)
    found = finds(tmp_path / "src", 1, "--first", hint[1]) if hint else ""
    found = found or finds(tmp_path / "src", SCHEDULES, "--workers", 2)
    assert found, f"{SCHEDULES} schedules do not show {mutant.stem}"
