"""Compiled decoding gives what decoding gives, or leaves the object to it."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver import fastdecode
from devcluster.apiserver.decode import DecodeError, Unknown, decode
from devcluster.apiserver.fastdecode import COMPILE_AFTER, FastDecoder
from devcluster.apiserver.schema import builtin_node, definition_name

Object = dict[str, Any]
TRANSCRIPTS = Path(__file__).parent / "transcripts"
ODD: list[Any] = [
    "",
    "zz",
    1,
    1.0,
    0.5,
    None,
    True,
    {},
    [],
    [None],
    1 << 40,
    "2026-01-01T00:00:00Z",
]


def _objects(value: Any) -> Iterator[Object]:
    """Every object in a recording."""
    if isinstance(value, dict):
        if isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str):
            yield value
        for child in value.values():
            yield from _objects(child)
    elif isinstance(value, list):
        for child in value:
            yield from _objects(child)


def _recorded() -> dict[str, list[Object]]:
    """Objects of built-in kinds, by definition."""
    found: dict[str, list[Object]] = {}
    for file in ("core.jsonl", "jobs.jsonl", "pods.jsonl", "auth.jsonl"):
        for line in (TRANSCRIPTS / file).read_text().splitlines():
            for obj in _objects(json.loads(line)):
                group, _, version = obj["apiVersion"].rpartition("/")
                name = definition_name(group, version, obj["kind"])
                if name is not None and "metadata" in obj:
                    found.setdefault(name, []).append(obj)
    return found


def _changed(value: Any, chance: random.Random) -> Any:
    """A copy with things missing and things that are odd."""
    if chance.random() < 0.01:
        return chance.choice(ODD)
    if isinstance(value, dict):
        kept = {k: _changed(v, chance) for k, v in value.items() if chance.random() > 0.05}
        return {**kept, "unknown": 1} if chance.random() < 0.01 else kept
    if isinstance(value, list):
        return [_changed(each, chance) for each in value if chance.random() > 0.05]
    return value


def _compiled(name: str) -> FastDecoder:
    decoder = FastDecoder(builtin_node(name))
    for _ in range(COMPILE_AFTER):
        decoder.decode({})
    return decoder


@pytest.mark.parametrize(("name", "objects"), _recorded().items())
def test_compiled_decoding_agrees_with_decoding(name: str, objects: list[Object]) -> None:
    decoder, node = _compiled(name), builtin_node(name)
    chance = random.Random(name)
    taken = 0
    for each in objects[:12]:
        for value in (each, *(_changed(each, chance) for _ in range(5))):
            if not isinstance(value, dict):
                continue
            before = copy.deepcopy(value)
            fast = decoder.decode(value)
            assert value == before
            if fast is None:
                continue
            taken += 1
            unknown = Unknown()
            try:
                slow = decode(node, value, unknown)
            except DecodeError as error:
                raise AssertionError(f"{value} was taken: {error}") from None
            assert not unknown.fields
            # Types as well as values: 1 is not 1.0 and not True.
            assert json.dumps(fast, sort_keys=True) == json.dumps(slow, sort_keys=True)
    # Events and lists bear nulls, as Go writes them.
    assert taken or name.endswith(("Event", "List"))


def test_what_is_decoded_shares_nothing_with_what_was_given() -> None:
    decoder = _compiled("io.k8s.api.core.v1.ConfigMap")
    entry = {"manager": "m", "fieldsV1": {"f:data": {"f:k": {}}}}
    given = {"metadata": {"labels": {"a": "b"}, "managedFields": [entry]}, "data": {"k": "v"}}
    decoded = decoder.decode(given)
    assert decoded == given
    for path in (("metadata",), ("metadata", "labels"), ("metadata", "managedFields"), ("data",)):
        mine: Any = decoded
        theirs: Any = given
        for key in path:
            mine, theirs = mine[key], theirs[key]
        assert mine is not theirs
    assert decoded["metadata"]["managedFields"][0]["fieldsV1"] is not entry["fieldsV1"]


def test_a_type_that_contains_itself_is_left_to_decoding() -> None:
    name = definition_name("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    assert name is not None
    assert fastdecode._compiled(builtin_node(name)) is None
