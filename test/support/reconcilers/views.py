"""Jobs, Pods and owners as the cache shows them. A test says what matters to it; the rest is as on a quiet day."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json

from kubetask_controller.api import constants as c
from kubetask_controller.reconcilers.projections import (
    ConditionView,
    ContainerView,
    JobView,
    OwnerRef,
    PodView,
    ResourceView,
)

NOW = datetime(2026, 1, 2, 10, 0, tzinfo=UTC)
NAMESPACE = "team"
DISRUPTION = "Pod failed on DisruptionTarget"


def at(seconds: float) -> str:
    """RFC 3339, so many seconds after (or before) ``NOW``."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def owner_ref(kind: str = c.KIND_BATCH_RUN, name: str = "r", uid: str = "u-r") -> OwnerRef:
    return OwnerRef(c.API_VERSION, kind, name, uid)


def complete() -> ConditionView:
    return ConditionView("CompletionsReached", "", at(-1))


def failed(reason: str = "BackoffLimitExceeded", message: str = "") -> ConditionView:
    return ConditionView(reason, message, at(-1))


def job(name: str = "r-task-0", **fields: Any) -> JobView:
    known: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"u-{name}",
        "resource_version": "10",
        "owner": owner_ref(),
        "workspace_config": "default",
        "index_label": "",
        "config_digest": "",
        "replacement": 0,
        "earlier_attempts": 0,
        "managed": True,
        "created": at(-60),
        "started": at(-60),
        "deleting": False,
        "suspended": False,
        "complete": None,
        "failed": None,
        "backoff_limit": 0,
        "failed_pods": 0,
    }
    return JobView(**known | fields)


def container(
    name: str = c.CONTAINER_AGENT, state: str = "running", **fields: Any
) -> ContainerView:
    started = at(-30) if state != "waiting" else ""
    ended = at(-2) if state == "terminated" else ""
    known = {"init": name == c.CONTAINER_WORKSPACE, "started_at": started, "finished_at": ended}
    return ContainerView(name=name, state=state, **known | fields)


def waiting(reason: str = "PodInitializing", message: str = "", **fields: Any) -> ContainerView:
    return container(state="waiting", reason=reason, message=message, **fields)


def exited(code: int = 0, message: str = "", **fields: Any) -> ContainerView:
    return container(state="terminated", exit_code=code, message=message, **fields)


def pod(*containers: ContainerView, name: str = "r-task-0-abcde", **fields: Any) -> PodView:
    """A Pod on a node; its phase follows from its containers, as a kubelet would have it."""
    known: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"u-{name}",
        "resource_version": "11",
        "owner": OwnerRef("batch/v1", "Job", "r-task-0", "u-r-task-0"),
        "created": at(-59),
        "deleting": False,
        "node": "node1",
        "phase": _phase(containers),
        "reason": "",
        "message": "",
        "unschedulable": "",
        "disruption": "",
        "disrupted_at": "",
        "started": at(-58),
        "active_deadline_seconds": None,
        "containers": containers,
    }
    return PodView(**known | fields)


def _phase(containers: tuple[ContainerView, ...]) -> str:
    if not containers or any(x.state == "waiting" for x in containers):
        return "Pending"
    if any(x.state == "running" for x in containers):
        return "Running"
    return "Failed" if any(x.exit_code for x in containers) else "Succeeded"


def resource(name: str, spec: Any, status: Any = None, **fields: Any) -> ResourceView:
    known: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"u-{name}",
        "resource_version": "7",
        "generation": 3,
        "created": at(-120),
        "deleting": False,
        "labels": {},
        "annotations": {},
        "spec": spec,
        "status": status or {},
    }
    inline = spec.get("batchSpec")
    if inline:
        known |= {
            "spec": {k: v for k, v in spec.items() if k != "batchSpec"},
            "work": to_json(inline),
        }
    return ResourceView(**known | fields)


def repository(repo: str = "service", **fields: str) -> dict[str, Any]:
    return {"type": "Repository", "repository": {"org": "acme", "repo": repo, **fields}}


def run(*, tasks: int = 1, name: str = "r", status: Any = None, **spec: Any) -> ResourceView:
    """A BatchRun whose tasks stand in its own spec."""
    inline = {"commonContext": [], "variableContexts": [[repository()]] * tasks}
    return resource(name, {"batchSpec": inline, **spec}, status)


def task(*, name: str = "t", status: Any = None, **spec: Any) -> ResourceView:
    return resource(name, {"contexts": [repository()], **spec}, status)
