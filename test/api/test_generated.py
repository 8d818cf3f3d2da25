"""What is generated from the models is what lies in the repository, and a change of either is told."""

import shutil
from pathlib import Path

import pytest
import yaml
from hack.generate import main

from kubetask_controller.api import crd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("config", "docs/reference", "src/kubetask_controller/api"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


@pytest.mark.processes
def test_the_repository_has_what_the_code_generates(copy: Path) -> None:
    assert main(["--check", "--root", str(copy)]) == 0


@pytest.mark.processes
def test_a_file_edited_by_hand_is_shown_with_the_difference(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copy / "config/crd/kubetask.io_batches.yaml"
    file.write_text(file.read_text().replace("kbatch", "kb"))
    assert main(["--check", "--root", str(copy)]) == 1
    said = capsys.readouterr()
    assert "-    - kb\n+    - kbatch\n" in said.out
    assert "make generate" in said.err


@pytest.mark.processes
def test_a_file_of_a_kind_that_is_gone_is_told_and_removed(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = copy / "config/crd/kubetask.io_bundles.yaml"
    stale.write_text("kind: CustomResourceDefinition\n")
    assert main(["--check", "--root", str(copy)]) == 1
    assert "kubetask.io_bundles.yaml" in capsys.readouterr().out
    assert main(["--root", str(copy)]) == 0
    assert not stale.exists()
    assert main(["--check", "--root", str(copy)]) == 0


def test_every_field_has_a_description() -> None:
    missing: list[str] = []

    def walk(schema: dict[str, object], path: str) -> None:
        properties = schema.get("properties")
        if isinstance(properties, dict):
            for name, each in properties.items():
                if not each.get("description"):
                    missing.append(f"{path}.{name}")
                walk(each, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            inner = schema.get(key)
            if isinstance(inner, dict):
                walk(inner, path + "[]")

    for each in crd.crds():
        (version,) = each["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            if part in schema["properties"]:
                walk(schema["properties"][part], f"{each['spec']['names']['kind']}.{part}")
    # Types of Kubernetes itself are described by `kubectl explain pod`.
    assert [x for x in missing if "[]" not in x and x.count(".") < 3] == []


def test_the_yaml_says_no_more_than_an_api_server_keeps() -> None:
    for file in sorted((ROOT / "config/crd").glob("kubetask.io_*.yaml")):
        found = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
        assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
        assert "status" not in found
        assert [x["name"] for x in found["spec"]["versions"] if x["storage"]] == ["v1alpha1"]
