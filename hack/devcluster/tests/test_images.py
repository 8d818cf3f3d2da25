"""Names and configuration of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from devcluster.images import DEFAULT_PATH, Images, ImageSpec, normalize


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("me/agent", "docker.io/me/agent:latest"),
        ("quay.io/me/agent:v1.0", "quay.io/me/agent:v1.0"),
        ("localhost:5000/agent", "localhost:5000/agent:latest"),
        ("quay.io/a/b@sha256:" + "0" * 64, "quay.io/a/b@sha256:" + "0" * 64),
    ],
)
def test_a_name_is_completed(name: str, full: str) -> None:
    assert normalize(name) == full


@pytest.mark.parametrize(
    "name", ["", "UPPER//case::", "a//b", "quay.io/", "a:", "a@sha256:1", "a b", "a:b c"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        normalize(name)


def test_an_exact_name_wins_over_patterns_and_later_patterns_over_earlier_ones() -> None:
    one, two, three = (ImageSpec(entrypoint=[name]) for name in ("one", "two", "three"))
    images = Images({"quay.io/*": one, "quay.io/me/*": two, "quay.io/me/agent:1": three})
    assert images.find("quay.io/me/agent:1") is three
    assert images.find("quay.io/me/agent:2") is two
    assert images.find("quay.io/you/agent") is one
    assert images.find("ghcr.io/you/agent") is None
    images.forget("quay.io/me/*")
    assert images.find("quay.io/me/agent:2") is one
    assert list(images) == ["quay.io/me/agent:1", "quay.io/*"]


def test_folders_come_first_in_path() -> None:
    spec = ImageSpec(path=["/a/bin", "/b/bin"], env={"X": "1"})
    assert spec.environment() == {"PATH": f"/a/bin:/b/bin:{DEFAULT_PATH}", "X": "1"}


def test_images_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text("quay.io/me/agent:1: {entrypoint: [agent], cmd: [run], env: {A: b}}\nalpine:\n")
    images = Images.from_file(file)
    assert images.find("quay.io/me/agent:1") == ImageSpec(
        entrypoint=["agent"], cmd=["run"], env={"A": "b"}
    )
    assert images.find("alpine") == ImageSpec()


def test_a_wrong_entry_of_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text("alpine: {command: [x]}\n")
    with pytest.raises(ValueError, match="image 'alpine': unknown command"):
        Images.from_file(file)
