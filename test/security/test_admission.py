"""What the API server itself has to refuse: every pattern of the CRDs holds to the end of the text.

The patterns stand in a definition of their own, one field each, so that whichever API server is under test judges them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.connection import ApiError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

JSON = dict[str, Any]
CRDS = sorted((Path(__file__).parents[2] / "config" / "crd").glob("kubetask.io_*.yaml"))
GROUP = "patterns.kubetask.io"

pytestmark = pytest.mark.integration


def _patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for child in node.values():
            yield from _patterns(child)
    elif isinstance(node, list):
        for child in node:
            yield from _patterns(child)


PATTERNS = sorted(
    {x for file in CRDS for x in _patterns(yaml.load(file.read_text(), Loader=yaml.CSafeLoader))}
)


@pytest.fixture(scope="module")
def fields(cluster: Cluster) -> Iterator[str]:
    """The path of a kind whose fields ``p0``, ``p1`` … have the patterns of the CRDs."""
    properties = {f"p{i}": {"type": "string", "pattern": x} for i, x in enumerate(PATTERNS)}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": properties}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"texts.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"plural": "texts", "singular": "text", "kind": "Text"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    cluster.connection.post(path, definition)
    _await_established(cluster, f"{path}/texts.{GROUP}")
    yield f"/apis/{GROUP}/v1/texts?dryRun=All"
    cluster.connection.delete(f"{path}/texts.{GROUP}")


@pytest.mark.parametrize("pattern", PATTERNS, ids=[f"p{i}" for i in range(len(PATTERNS))])
def test_a_pattern_holds_to_both_ends_of_the_text(
    cluster: Cluster, fields: str, pattern: str
) -> None:
    field = f"p{PATTERNS.index(pattern)}"

    @settings(
        max_examples=4,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
    def holds(text: str) -> None:
        _post(cluster, fields, {field: text})
        for longer in (f"{text}\n", f"\n{text}"):
            with pytest.raises(ApiError, match=f"spec.{field}"):
                _post(cluster, fields, {field: longer})

    holds()


def _post(cluster: Cluster, path: str, spec: JSON) -> None:
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Text", "metadata": {"name": "x"}, "spec": spec}
    cluster.connection.post(path, body)


def _await_established(cluster: Cluster, path: str) -> None:
    for _ in range(100):
        found = cluster.connection.get(path).get("status") or {}
        if any(
            x["type"] == "Established" and x["status"] == "True"
            for x in found.get("conditions") or ()
        ):
            return
        cluster.connection.get("/readyz")
    raise AssertionError("the definition is not served")
