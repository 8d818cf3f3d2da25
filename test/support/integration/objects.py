"""The objects that tests apply, with as little in them as a test does not care about."""

import json
from typing import Any

import pytest
from devcluster.base import LACKS, Capability

API = "kubetask.io/v1alpha1"


def obj(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def dry_run(plural: str) -> str:
    """The path at which the API server validates an object of ours without storing it; unknown fields are errors."""
    return f"/apis/{API}/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict"


def text(name: str = "task.md", inline: str = "Update dependencies") -> dict[str, Any]:
    """A context with an inline file."""
    return {"type": "File", "file": {"name": name, "source": {"inline": inline}}}


def from_config_map(name: str, config_map: str, key: str) -> dict[str, Any]:
    """A context with a file out of a ConfigMap."""
    source = {"configMapKeyRef": {"name": config_map, "key": key}}
    return {"type": "File", "file": {"name": name, "source": source}}


def repository(repo: str, org: str = "acme", branch: str = "main") -> dict[str, Any]:
    """A context with a repository."""
    return {"type": "Repository", "repository": {"org": org, "repo": repo, "branch": branch}}


def run(name: str, tasks: int = 1, **spec: Any) -> dict[str, Any]:
    """A BatchRun with an inline Batch of that many tasks, one file each."""
    inline = {
        "commonContext": [text()],
        "variableContexts": [[text(f"{i}.md")] for i in range(tasks)],
    }
    return obj("BatchRun", name, {"batchSpec": inline, **spec})


def batch(name: str, tasks: int = 1) -> dict[str, Any]:
    """A Batch of that many tasks, one file each."""
    inline = {
        "commonContext": [text()],
        "variableContexts": [[text(f"{i}.md")] for i in range(tasks)],
    }
    return obj("Batch", name, inline)


def task(name: str, *contexts: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Task; with one inline file where nothing is said."""
    return obj("Task", name, {"contexts": list(contexts) or [text()], **spec})


def config(name: str = "default", **spec: Any) -> dict[str, Any]:
    """A WorkspaceConfig."""
    return obj("WorkspaceConfig", name, spec)


def scripted(name: str = "default", *, outcome: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A WorkspaceConfig whose Pods end as a test says (see devcluster.kubelet_states.Outcome).

    They run nothing, unless real nodes run all Pods: then a shell ends like that. What a shell cannot do is skipped.
    """
    if real_nodes:
        return obj("WorkspaceConfig", name, _acted(outcome) | spec)
    annotations = {"devcluster.dev/outcome": json.dumps(outcome)}
    return obj("WorkspaceConfig", name, {"podAnnotations": annotations, **spec})


real_nodes = False
"""Whether real nodes run every Pod of the cluster under test; set by the fixture ``namespace``."""


def _acted(outcome: dict[str, Any]) -> dict[str, Any]:
    if set(outcome) - {"exitCode", "message", "runSeconds"}:
        pytest.skip(LACKS + Capability.SCRIPTED_PODS)
    seconds = outcome.get("runSeconds", 1)
    script = (
        f"trap 'exit 143' TERM; sleep {'infinity' if seconds is None else seconds} & wait $!; "
        f'printf %s "$1" > /dev/termination-log; exit {outcome.get("exitCode", 0)}'
    )
    message = outcome.get("message", "").replace("$", "$$")
    return {"command": ["sh", "-c", script, "sh", message]}


def conditions(found: dict[str, Any]) -> dict[str, str]:
    """Condition type → status."""
    return {x["type"]: x["status"] for x in found["status"]["conditions"]}
