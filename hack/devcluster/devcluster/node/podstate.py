"""The kubelet's state of a Pod that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .runtime import Process

Object = dict[str, Any]


class ContainerKind(Enum):
    """The part that a container plays."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


@dataclass(slots=True)
class ContainerState:
    """One container. `state` and `last_state` are as in the API; `process` is its newest run.

    `starting`: it runs, and its startupProbe has not succeeded yet.
    """

    spec: Object
    kind: ContainerKind
    state: Object
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    attempt: int = -1
    process: Process | None = None
    starting: bool = False
    container_id: str = ""
    image_id: str = ""

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return "running" in self.state

    @property
    def terminated(self) -> Object | None:
        """The API's terminated state, if it is in it."""
        found: Object | None = self.state.get("terminated")
        return found

    @property
    def ready(self) -> bool:
        """A started container is ready, an init container when it has completed; readiness probes are ignored."""
        if self.kind is ContainerKind.INIT:
            return self.terminated is not None and self.terminated["exitCode"] == 0
        return self.running and not self.starting


@dataclass(slots=True)
class PodState:
    """One Pod. `pod` is its newest object, `final`: everything has ended for good.

    `failure` is set when the kubelet ends the Pod: (reason, message) of its status.
    """

    pod: Object
    ip: str
    start_time: str
    inits: list[ContainerState]
    mains: list[ContainerState]
    sandbox: bool = False
    sandbox_stopped: bool = False
    final: bool = False
    terminating: bool = False
    failure: tuple[str, str] | None = None
    disruption: Object | None = None

    @classmethod
    def new(cls, pod: Object, ip: str, start_time: str) -> PodState:
        """The state of a Pod of which nothing runs yet."""
        spec = pod["spec"]
        inits = spec.get("initContainers") or ()
        reason = "PodInitializing" if inits else "ContainerCreating"
        return cls(
            pod=pod,
            ip=ip,
            start_time=start_time,
            inits=[
                ContainerState(each, _init_kind(each), {"waiting": {"reason": reason}})
                for each in inits
            ],
            mains=[
                ContainerState(each, ContainerKind.MAIN, {"waiting": {"reason": reason}})
                for each in spec["containers"]
            ],
        )

    @property
    def containers(self) -> Sequence[ContainerState]:
        """All of them, in the order in which they start."""
        return [*self.inits, *self.mains]

    @property
    def restart_policy(self) -> str:
        """Always, OnFailure or Never."""
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    @property
    def full_name(self) -> str:
        """The Pod in a kubelet's messages: `name_namespace(uid)`."""
        metadata = self.pod["metadata"]
        return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def _init_kind(container: Object) -> ContainerKind:
    return (
        ContainerKind.SIDECAR if container.get("restartPolicy") == "Always" else ContainerKind.INIT
    )
