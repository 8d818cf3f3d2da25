"""The summary that the pytest plugin prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_one(cluster):
    cluster.require("job-controller")

@pytest.fixture
def poor(cluster, monkeypatch):
    monkeypatch.setattr(cluster, "capabilities", frozenset({"nodes"}))
    return cluster

@pytest.mark.parametrize("number", range(2))
def test_two(poor, number):
    poor.require("faults")

def test_three(poor):
    poor.require("faults", "processes", "nodes")

@pytest.mark.skip(reason="for another reason")
def test_four():
    pass
"""


def run_pytest(folder: Path, text: str, *options: str) -> str:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    hidden = ("KUBECONFIG", "KUBEBUILDER_ASSETS", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    environ = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "workers"])
def test_the_summary_names_the_cluster_and_counts_what_it_lacked(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    _, _, said = run_pytest(tmp_path, TESTS, *options).partition(" cluster ")
    assert "development cluster, Kubernetes v1.36.2 (" in said
    assert "job-controller" in said
    assert "skipped because the cluster lacks faults: 3 tests\n" in said
    assert "skipped because the cluster lacks processes: 1 test\n" in said
    assert "another reason" not in said


@pytest.mark.slow
def test_a_session_without_a_cluster_has_no_such_summary(tmp_path: Path) -> None:
    assert " cluster " not in run_pytest(tmp_path, "def test_it():\n    pass\n")
