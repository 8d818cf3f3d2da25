"""What is refused is refused when it is applied, with a sentence that names the field."""

from typing import Any

import pytest
from devcluster.base import Cluster
from devcluster.connection import ApiError

from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import batch, dry_run, obj, repository, run, task, text

FILE = {"name": "a.md", "source": {"inline": "x"}}


def _without_union(**context: Any) -> dict[str, Any]:
    return task("t", context)


def _files(*names: str) -> dict[str, Any]:
    return task("t", *(text(x) for x in names))


CASES = {
    "both batchRef and batchSpec": (run("r", batchRef="b"), "batchRef"),
    "neither batchRef nor batchSpec": (obj("BatchRun", "r", {"suspend": True}), "batchRef"),
    "no task at all": (batch("b", tasks=0), "variableContexts"),
    "a file of type Repository": (_without_union(type="Repository", file=FILE), "repository"),
    "a repository of type File": (
        _without_union(type="File", repository=repository("x")["repository"]),
        "file",
    ),
    "a type that does not exist": (_without_union(type="Database"), "type"),
    "two sources of one file": (
        _without_union(
            type="File",
            file={
                "name": "a",
                "source": {"inline": "x", "configMapKeyRef": {"name": "a", "key": "b"}},
            },
        ),
        "source",
    ),
    "no source of a file": (
        _without_union(type="File", file={"name": "a", "source": {}}),
        "source",
    ),
    "a file outside of the workspace": (_files("../../etc/passwd"), "name"),
    "an absolute file name": (_files("/etc/passwd"), "name"),
    "an empty part in a file name": (_files("a//b"), "name"),
    "two files of one name": (_files("a.md", "a.md"), "contexts"),
    "a branch that is an option of git": (
        task("t", repository("x", branch="--upload-pack=x")),
        "branch",
    ),
    "a negative parallelism": (run("r", parallelism=-1), "parallelism"),
    "a negative budget": (run("r", maxCostUSD=-5), "maxCostUSD"),
    "a WorkspaceConfig with two dots": (run("r", workspaceConfigRef="a..b"), "workspaceConfigRef"),
    **{
        f"a key of a ConfigMap that is {key}": (
            _without_union(
                type="File",
                file={"name": "a", "source": {"configMapKeyRef": {"name": "a", "key": key}}},
            ),
            "key",
        )
        for key in (".", "..", "..x")
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_manifest_that_makes_no_sense_is_refused(
    installed: Kubectl, cluster: Cluster, case: tuple[dict[str, Any], str]
) -> None:
    manifest, field = case
    plural = f"{manifest['kind'].lower()}s".replace("chs", "ches")
    with pytest.raises(ApiError, match=field):
        cluster.connection.post(dry_run(plural), manifest)


def test_more_tasks_than_a_run_may_have_are_refused_with_the_limit(kubectl: Kubectl) -> None:
    with pytest.raises(KubectlError, match=r"10,?000"):
        kubectl("create", "-f", "-", stdin=_json(batch("b", tasks=10_001)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            {"batchSpec": {"commonContext": [], "variableContexts": [[text("other.md")]]}},
            "batchSpec",
        ),
        ({"backoffLimit": 3}, "backoffLimit"),
        ({"workspaceConfigRef": "other"}, "workspaceConfigRef"),
    ],
)
def test_the_work_of_a_run_cannot_be_changed(
    kubectl: Kubectl, change: dict[str, Any], field: str
) -> None:
    kubectl.apply(run("r", suspend=True))
    with pytest.raises(KubectlError, match="immutable"):
        kubectl("patch", "batchrun", "r", "--type=merge", "-p", _json({"spec": change}))


def test_what_steers_a_run_can_be_changed(kubectl: Kubectl) -> None:
    kubectl.apply(run("r", suspend=True))
    change = {"spec": {"parallelism": 2, "maxFailures": 1, "suspend": False, "cancel": True}}
    kubectl("patch", "batchrun", "r", "--type=merge", "-p", _json(change))
    assert kubectl.get("batchrun", "r")["spec"]["maxFailures"] == 1


def _json(value: Any) -> str:
    import json

    return json.dumps(value)
