"""What is shipped is pinned, listed and licensed, and the commands that SECURITY.md names exist."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support.image.dockerfile import ROOT

REQUIREMENTS = ROOT / "hack" / "requirements"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def _packages(file: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (REQUIREMENTS / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", sorted(x.name for x in REQUIREMENTS.glob("*.txt")))
def test_every_package_is_pinned_with_its_hashes(file: str) -> None:
    text = (REQUIREMENTS / file).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [x.split()[0] for x in entries if "--hash=sha256:" not in x] == []


def test_every_package_that_is_shipped_has_a_licence_that_allows_it() -> None:
    table = (ROOT / "docs" / "licenses.md").read_text().partition("from PyPI")[2]
    rows = re.findall(r"^\| ([\w.-]+) +\| (.+?) +\|", table, re.MULTILINE)
    licences = {name.lower().replace("_", "-"): licence for name, licence in rows}
    assert _packages("runtime.txt") - set(licences) - {"colorama"} == set()
    assert [x for x in licences.values() if re.search(r"GPL|SSPL|UNKNOWN|Commercial", x)] == []


def test_every_image_in_the_manifests_has_a_version() -> None:
    found: list[str] = []
    for path in (ROOT / "config").rglob("*.yaml"):
        for each in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
            found += _images(each)
    assert len(found) > 5
    loose = [x for x in found if not re.search(r"(@sha256:|:v?\d)[\w.]*$", x)]
    # The name that config/manager/kustomization.yaml replaces.
    assert [x for x in loose if x != "kubetask-controller"] == []


def _images(node: object) -> list[str]:
    if isinstance(node, list):
        return [x for each in node for x in _images(each)]
    if not isinstance(node, dict) or node.get("kind") == "CustomResourceDefinition":
        return []
    own = [node[k] for k in ("image", "agentImage") if isinstance(node.get(k), str)]
    return own + [x for each in node.values() for x in _images(each)]


@pytest.mark.parametrize("before", ["", "@sha256:" + "0" * 64])
def test_the_base_is_pinned_by_one_command(tmp_path: Path, before: str) -> None:
    base = "docker.io/library/python:3.13-slim-trixie"
    text = (ROOT / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(
        re.sub(
            r"^ARG PYTHON_IMAGE=.*", f"ARG PYTHON_IMAGE={base}{before}", text, flags=re.MULTILINE
        )
    )
    shutil.copy(ROOT / "Makefile", tmp_path)
    _docker(tmp_path, f'case "$4" in *@*) exit 1;; *) echo {DIGEST};; esac')
    _make(tmp_path, "pin-base")
    pinned = (tmp_path / "Dockerfile").read_text()
    assert f"ARG PYTHON_IMAGE={base}@{DIGEST}\n" in pinned
    bases = re.findall(r"^ARG [A-Z]*_IMAGE=(.*)$", pinned, re.MULTILINE)
    assert [x for x in bases if not x.endswith(f"@{DIGEST}")] == []


def test_an_answer_that_is_no_digest_pins_nothing(tmp_path: Path) -> None:
    for file in ("Makefile", "Dockerfile"):
        shutil.copy(ROOT / file, tmp_path)
    _docker(tmp_path, "echo '<no value>'")
    with pytest.raises(subprocess.CalledProcessError):
        _make(tmp_path, "pin-base")
    assert (tmp_path / "Dockerfile").read_text() == (ROOT / "Dockerfile").read_text()


def _docker(folder: Path, script: str) -> None:
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def _make(folder: Path, target: str) -> None:
    environ = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["make", target], cwd=folder, env=environ, check=True, capture_output=True)


def test_the_commands_of_the_security_page_exist() -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "SECURITY.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets
