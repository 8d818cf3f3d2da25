"""A registry with only the controllers, and a clock that a test advances."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devcluster.apiserver.admission import install
from devcluster.apiserver.auth.rbac import RBACAuthorizer
from devcluster.apiserver.catalog import Catalog, ResourceInfo
from devcluster.apiserver.crd import CustomResources
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import EVENTS, GVR, JOBS, NAMESPACES, PODS, LocalClient
from devcluster.apiserver.registry import Registry
from devcluster.controllers import Clock, ControllerOptions, Controllers
from devcluster.storage import Storage, Watch

Object = dict[str, Any]

TRANSCRIPTS = Path(__file__).parent / "transcripts"
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
EPOCH = 1_800_000_000.0
ROOT_CA = "-----BEGIN CERTIFICATE-----\n"
TIMES = ("lastTransitionTime", "lastProbeTime", "startTime", "completionTime")


class ControllersLab:
    """One small cluster. `wall` is the time that its objects show."""

    def __init__(self, *, start: float = EPOCH, options: ControllerOptions | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._begin = self._now = self._loop.time()
        self._loop.time = lambda: self._now  # type: ignore[method-assign]
        self.start = start
        self.storage = Storage(clock=self.wall)
        self.registry = Registry(self.storage, Catalog(), seed=1)
        CustomResources(self.registry)
        install(self.registry, RBACAuthorizer(self.storage))
        self._recorded: list[str] = []
        self.registry.after_write.append(self._written)
        self.client = LocalClient(self.registry, manager="test")
        self.controllers = Controllers(
            self.registry, root_ca=ROOT_CA, options=options, clock=Clock(self.wall)
        )

    def _written(self, info: ResourceInfo, new: Object | None, old: Object | None) -> None:
        if info.storage_key == "events" and new is not None and old is None:
            self._recorded.append(new["metadata"]["uid"])

    def close(self) -> None:
        """Give the loop its own time back."""
        del self._loop.time  # type: ignore[method-assign]

    def wall(self) -> float:
        return self.start + self._now - self._begin

    @property
    def elapsed(self) -> float:
        """Seconds since the lab was opened."""
        return self._now - self._begin

    def at(self, seconds: float, action: Callable[[], Any]) -> None:
        """Do something when so much time has passed since the lab was opened."""
        self._loop.call_at(self._begin + seconds, action)

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        while True:
            await asyncio.sleep(0)
            if not self._loop._ready:  # type: ignore[attr-defined]
                return

    async def pass_time(self, seconds: float) -> None:
        """Advance the clock; every timer that becomes due fires at its time."""
        end = self._now + seconds
        await self.settle()
        while (due := self._next_timer()) is not None and due <= end:
            await self._jump(due)
        await self._jump(end)

    async def _jump(self, to: float) -> None:
        self._now = max(self._now, to)
        await asyncio.sleep(0)
        await self.settle()

    def _next_timer(self) -> float | None:
        timers = self._loop._scheduled  # type: ignore[attr-defined]
        return min((each._when for each in timers if not each._cancelled), default=None)

    # --- objects

    async def serve_custom_resource(self, resource: GVR, kind: str) -> None:
        """A CustomResourceDefinition that is served."""
        version = {
            "name": resource.version,
            "served": True,
            "storage": True,
            "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            },
        }
        names = {"plural": resource.plural, "singular": kind.lower(), "kind": kind}
        spec = {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {**names, "listKind": f"{kind}List"},
            "versions": [version],
        }
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{resource.plural}.{resource.group}"},
            "spec": spec,
        }
        self.client.create(CRDS, None, body)
        await self.settle()

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        metadata = {"name": name, **({"labels": labels} if labels else {})}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.client.create(NAMESPACES, None, body)

    def get(self, resource: GVR, namespace: str | None, name: str) -> Object | None:
        return self.client.find(resource, namespace, name)

    def exists(self, resource: GVR, namespace: str | None, name: str) -> bool:
        return self.client.find(resource, namespace, name) is not None

    def pods(self, namespace: str, job: str | None = None) -> list[Object]:
        """Pods, of one Job perhaps, in the order in which they were made."""
        found = [
            pod
            for pod in self.client.list(PODS, namespace)
            if job is None or pod["metadata"]["labels"].get("job-name") == job
        ]
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def pod(self, namespace: str, job: str) -> Object:
        """The only Pod of a Job."""
        (pod,) = self.pods(namespace, job)
        return pod

    def set_pod(self, pod: Object, status: Object) -> None:
        """Write a Pod's status over what it has, as a kubelet."""
        metadata = pod["metadata"]
        patch = {"status": status}
        self.client.patch_status(PODS, metadata["namespace"], metadata["name"], patch)

    def bind(self, pod: Object, node: str = "node1") -> None:
        """Give a Pod a node."""
        metadata = pod["metadata"]
        changed = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        self.registry.put_raw(_codec(self.client), changed | {"metadata": dict(metadata)}, pod)

    def run_pod(self, pod: Object) -> None:
        """A Pod that runs and is ready."""
        stamp = self.stamp()
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp}
        self.set_pod(pod, {"phase": "Running", "conditions": [ready]})

    def end_pod(self, pod: Object, exit_code: int = 0) -> None:
        """A Pod that has ended."""
        stamp = self.stamp()
        terminated = {"exitCode": exit_code, "startedAt": stamp, "finishedAt": stamp}
        status = {
            "name": pod["spec"]["containers"][0]["name"],
            "state": {"terminated": terminated},
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
        }
        phase = "Failed" if exit_code else "Succeeded"
        self.set_pod(pod, {"phase": phase, "containerStatuses": [status]})

    def remove_pod(self, pod: Object) -> None:
        """The last act of a kubelet."""
        metadata = pod["metadata"]
        try:
            self.client.delete(
                PODS, metadata["namespace"], metadata["name"], grace_period_seconds=0
            )
        except StatusError as error:
            if error.code != 404:
                raise

    def stamp(self) -> str:
        return self.registry.now()

    def events(self, namespace: str, job: str) -> list[tuple[str, str, str, int]]:
        """(type, reason, message, count) of a Job's Events, oldest first."""
        return [
            (each["type"], each["reason"], each["message"], each["count"])
            for each in self._events(namespace, job)
        ]

    def event_versions(self, namespace: str, job: str) -> list[tuple[str, str]]:
        """(reason, resourceVersion of the Job) of a Job's Events."""
        return [
            (each["reason"], each["involvedObject"]["resourceVersion"])
            for each in self._events(namespace, job)
        ]

    def _events(self, namespace: str, job: str) -> list[Object]:
        found = [
            event
            for event in self.client.list(EVENTS, namespace)
            if event["involvedObject"]["name"] == job
        ]
        return sorted(found, key=lambda event: self._recorded.index(event["metadata"]["uid"]))


@asynccontextmanager
async def open_lab(
    *namespaces: str, start: float = EPOCH, options: ControllerOptions | None = None
) -> AsyncIterator[ControllersLab]:
    """A lab with namespaces that have their ServiceAccounts."""
    lab = ControllersLab(start=start, options=options)
    try:
        await lab.controllers.start()
        for name in namespaces:
            lab.namespace(name)
        await lab.settle()
        yield lab
    finally:
        await lab.controllers.stop()
        lab.close()


def _codec(client: LocalClient) -> Any:
    from devcluster.apiserver.codec import codec_for

    return codec_for(client.info(PODS))


def follow(lab: ControllersLab, resource: str = "jobs.batch") -> Watch:
    """A watch of one resource from now on."""
    return lab.storage.watch(resource)


def timeless(value: Any) -> Any:
    """A status without the times that differ from run to run; whether they are there still shows."""
    if isinstance(value, dict):
        return {key: "*" if key in TIMES else timeless(each) for key, each in value.items()}
    if isinstance(value, list):
        return [timeless(each) for each in value]
    return value


def load(name: str) -> list[Object]:
    """The lines of a transcript."""
    with (TRANSCRIPTS / name).open() as lines:
        return [json.loads(line) for line in lines]


def job(name: str, **spec: Any) -> Object:
    """A Job of one container."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "agent", "image": "x"}]}
    template = spec.pop("template", {"spec": pod})
    metadata = {"name": name, "labels": {"kubetask.io/task": "x"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {**spec, "template": template},
    }


def conditions(obj: Object | None) -> list[tuple[str, str, str]]:
    """(type, status, reason) of an object's conditions."""
    status = (obj or {}).get("status") or {}
    return [
        (each["type"], each["status"], each.get("reason", ""))
        for each in status.get("conditions") or ()
    ]


__all__ = [
    "EVENTS",
    "JOBS",
    "PODS",
    "ControllersLab",
    "conditions",
    "follow",
    "job",
    "load",
    "open_lab",
    "timeless",
]
