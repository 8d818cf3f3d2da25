"""Patterns and names mean on this API server what they mean in Go: `$` is the end of the text, line feeds included."""

from typing import Any

import pytest
from controllers_lab import open_lab
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import CONFIGMAPS, PODS
from devcluster.apiserver.structural import compile_pattern
from devcluster.images import normalize

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^[a-z]+$", "ab", True),
        ("^[a-z]+$", "ab\n", False),
        (r"a\z", "a\n", False),
        (r"^[$]+$", "$", True),
        (r"^\$$", "$", True),
        (r"^\\$", "\\", True),
        (r"^[^]$]+$", "a", True),
        (r"^([0-9]+|[a-z]$)", "a\n", False),
        (r"(?m)^a$", "a\nb", True),
    ],
)
def test_a_dollar_ends_the_text(pattern: str, text: str, matches: bool) -> None:
    assert bool(compile_pattern(pattern).search(text)) is matches


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "p\n"}},
        {"metadata": {"labels": {"a\n": "b"}}},
        {"metadata": {"labels": {"a": "b\n"}}},
        {"metadata": {"annotations": {"a\n": "b"}}},
        {"metadata": {"finalizers": ["example.com/a\n"]}},
        {"container": {"name": "agent\n"}},
        {"container": {"env": [{"name": "A\n", "value": "b"}]}},
        {"container": {"resources": {"limits": {"cpu": "1\n"}}}},
        {"container": {"resources": {"limits": {"example.com/gpu\n": "1"}}}},
        {"spec": {"serviceAccountName": "default\n"}},
        {"spec": {"nodeSelector": {"a": "b\n"}}},
        {"spec": {"volumes": [{"name": "v\n", "emptyDir": {}}]}},
        {"spec": {"activeDeadlineSeconds": "1\n"}},
    ],
    ids=str,
)
async def test_no_name_of_a_pod_ends_in_a_line_feed(change: Object) -> None:
    async with open_lab("team") as lab:
        container = {"name": "agent", "image": "x", **change.get("container", {})}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", **change.get("metadata", {})},
            "spec": {"containers": [container], **change.get("spec", {})},
        }
        with pytest.raises(StatusError) as refused:
            lab.client.create(PODS, "team", pod)
        assert refused.value.code in (400, 403, 422)


async def test_no_key_of_a_configmap_ends_in_a_line_feed() -> None:
    async with open_lab("team") as lab:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        with pytest.raises(StatusError, match="a valid config key"):
            lab.client.create(CONFIGMAPS, "team", body | {"data": {"a\n": "b"}})


@pytest.mark.parametrize("name", ["x\n", "x:1\n", "example.com/x\n", "example.com:80\n/x"])
def test_no_image_ends_in_a_line_feed(name: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        normalize(name)
