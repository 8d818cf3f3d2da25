"""The manifests of config/ as kubectl renders them."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config"
KUBECTL = Path(sys.executable).with_name("kubectl")

FOLDERS = sorted(
    str(x.parent.relative_to(CONFIG))
    for x in CONFIG.rglob("kustomization.yaml")
    if "kind: Component" not in x.read_text()
)
"""Every folder that ``kubectl apply -k`` takes."""


@cache
def rendered(folder: str, config: Path = CONFIG) -> str:
    """What ``kubectl kustomize`` prints, and it warns of nothing."""
    done = subprocess.run(
        [KUBECTL, "kustomize", config / folder], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def loaded(text: str) -> list[Any]:
    """The documents of a text; libyaml reads the definitions in a tenth of the time."""
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


def objects(folder: str, config: Path = CONFIG) -> list[dict[str, Any]]:
    """The objects of a folder."""
    return [x for x in loaded(rendered(folder, config)) if x]


def by_kind(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Name → object of a kind."""
    return {x["metadata"]["name"]: x for x in found if x["kind"] == kind}


def controller(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The container of the controller."""
    pod = by_kind(found, "Deployment")["kubetask-controller"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return container
