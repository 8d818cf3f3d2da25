"""``pip install`` brings the built page: users need no Node.js."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kubetask_controller.cli.ui.server import ASSETS

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_the_wheel_has_the_built_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name, _ in ASSETS.values():
        assert f"kubetask_controller/cli/ui/static/{name}" in names
