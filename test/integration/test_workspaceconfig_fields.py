"""Each field of a WorkspaceConfig by itself: a good value is kept, a bad one is refused with the name of the field."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.connection import ApiError

from support.integration.kubectl import Kubectl
from support.integration.objects import config, dry_run

JSON = dict[str, Any]
ROOT = Path(__file__).parents[2]
CRD = ROOT / "config" / "crd" / "kubetask.io_workspaceconfigs.yaml"
GOOD = Path(__file__).parent / "testdata" / "workspaceconfigs.yaml"
PATH = dry_run("workspaceconfigs")

Place = tuple[str | int, ...]
"""Keys and positions from the spec on; of a list any position, of a map any key, as "*"."""


@cache
def specs() -> list[JSON]:
    return list(yaml.safe_load_all(GOOD.read_text()))


@cache
def fields() -> dict[Place, JSON]:
    """The schema of each field that holds a value."""
    # Each worker collects this file, and the loader written in Python takes a second for a CRD.
    crd = yaml.load(CRD.read_text(), Loader=yaml.CSafeLoader)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def walk(node: JSON, place: Place) -> Iterator[tuple[Place, JSON]]:
        inner = node.get("additionalProperties")
        if "properties" in node:
            for key, child in node["properties"].items():
                yield from walk(child, (*place, key))
        elif node.get("type") == "array":
            yield from walk(node["items"], (*place, "*"))
        elif isinstance(inner, dict):
            yield from walk(inner, (*place, "*"))
        else:
            yield place, node

    found = dict(walk(schema, ()))
    # There to be refused with a sentence of its own, which test_workspaceconfig.py asserts.
    return {place: node for place, node in found.items() if "hostPath" not in place}


def values(value: Any, place: Place = (), real: Place = ()) -> Iterator[tuple[Place, Place, Any]]:
    """Each value of a spec, with its field and its own place."""
    if isinstance(value, dict):
        for key, child in value.items():
            known = any(x[: len(place) + 1] == (*place, key) for x in fields())
            yield from values(child, (*place, key if known else "*"), (*real, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from values(child, (*place, "*"), (*real, index))
    else:
        yield place, real, value


@cache
def places() -> dict[Place, tuple[int, Place]]:
    """For each field a spec that has it, and where."""
    found: dict[Place, tuple[int, Place]] = {}
    for number, spec in enumerate(specs()):
        for place, real, _ in values(spec):
            found.setdefault(place, (number, real))
    return found


def bad(schema: JSON) -> Any:
    """A value that the field's own bounds exclude."""
    if "enum" in schema:
        return "NoSuchValue"
    if "minimum" in schema:
        return schema["minimum"] - 1
    if "pattern" in schema:
        wrong = (x for x in ("!", "a b\n", "x" * 5000) if not re.fullmatch(schema["pattern"], x))
        return next(wrong)
    if "maxLength" in schema:
        return "x" * (schema["maxLength"] + 1)
    return ["of another type"]


def put(spec: JSON, place: Place, value: Any) -> JSON:
    changed = copy.deepcopy(spec)
    at: Any = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return changed


def written(place: Place) -> str:
    """As the API server writes it: spec.volumes[0].name."""
    return "spec" + "".join(f"[{x}]" if isinstance(x, int) else f".{x}" for x in place)


def test_the_good_values_have_every_field_there_is() -> None:
    assert set(places()) == set(fields())


@pytest.mark.parametrize("number", range(3))
def test_good_values_are_taken_and_kept(installed: Kubectl, cluster: Cluster, number: int) -> None:
    spec = specs()[number]
    kept = cluster.connection.post(PATH, config("c", **spec))["spec"]
    left = {place: value for _, place, value in values(kept)}
    assert {p: v for _, p, v in values(spec) if left.get(p) != v} == {}


@pytest.mark.parametrize("name", sorted({x[0] for x in fields()}))
def test_a_bad_value_is_refused_with_the_name_of_its_field(
    installed: Kubectl, cluster: Cluster, name: str
) -> None:
    wrong = []
    for field, schema in fields().items():
        if field[0] != name:
            continue
        number, place = places()[field]
        value = bad(schema)
        try:
            cluster.connection.post(PATH, config("c", **put(specs()[number], place, value)))
        except ApiError as error:
            if written(place) not in str(error) or error.code != 422:
                wrong.append(f"{written(place)} = {value!r:.60}: {error}"[:300])
        else:
            wrong.append(f"{written(place)} = {value!r:.60} is taken")
    assert not wrong, "\n".join(wrong)
