"""A small API server in memory, and the reconcilers on it, wired as the product wires them.

Each write reaches the caches at once, unless ``lag`` holds a resource back. Nothing runs by itself: a test moves Jobs and
Pods, calls ``reconcile`` and reads what the API server holds. Time stands still until the test moves it.
"""

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from kubetask_controller.api import constants as c
from kubetask_controller.client.errors import APIStatusError, ClientError, TransportError
from kubetask_controller.client.resources import (
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    CORE_EVENTS,
    JOBS,
    PODS,
    Resource,
)
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.batchrun.reconciler import BatchRunReconciler
from kubetask_controller.reconcilers.context import ReconcilerContext
from kubetask_controller.reconcilers.freshness import LABEL_CONTROLLER_UID
from kubetask_controller.reconcilers.listers import (
    BATCH_RUNS,
    BATCHES,
    TASKS,
    WORKSPACE_CONFIGS,
)
from kubetask_controller.reconcilers.setup import Settings, setup_with_manager
from kubetask_controller.reconcilers.task.reconciler import TaskReconciler
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from kubetask_controller.runtime.controller import Controller
from kubetask_controller.runtime.informer import ReflectorStore
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Request, Result
from kubetask_controller.runtime.runnable_group import Runnable
from support.reconcilers.views import NAMESPACE, NOW, at

Json = dict[str, Any]
Answer = Callable[[], Exception | None]
KINDS = {
    c.KIND_BATCH: BATCHES,
    c.KIND_BATCH_RUN: BATCH_RUNS,
    c.KIND_TASK: TASKS,
    c.KIND_WORKSPACE_CONFIG: WORKSPACE_CONFIGS,
}
WATCHED = (BATCHES, BATCH_RUNS, TASKS, WORKSPACE_CONFIGS, JOBS, PODS)
OURS = {c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE}
IMAGES = Images(workspace="registry/workspace:1", agent="registry/agent:1")


class Clock:
    """Wall and monotonic time that a test moves."""

    def __init__(self) -> None:
        self.passed = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed - 1000.0)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Recorded:
    """An EventRecorder that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, regarding: Any, *, type: str, reason: str, action: str, note: str) -> None:
        self.events.append((regarding.name, reason, note))


class _Manager(Manager):
    """A manager that is never started; its controllers' queues show who was woken."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.controllers: dict[str, Controller] = {}
        self.runnables: list[Runnable] = []
        super().__init__(client, ManagerOptions(), metrics=Metrics(), clock=clock)

    def add(self, runnable: Runnable, *, needs_leader: bool = True) -> None:
        self.runnables.append(runnable)
        if isinstance(runnable, Controller):
            self.controllers[runnable.name] = runnable


class Cluster:
    """See the module. A new process on the same objects: ``restart``."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.objects: dict[tuple[str, str], Json] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.recorded = Recorded()
        self._version = itertools.count(100)
        self._troubles: list[tuple[str, str, str, Answer]] = []
        self._lagging: dict[str, list[Callable[[], None]]] = {}
        self.client = FakeClient(self)
        self.restart()

    def restart(self, *, behind: Resource | None = None) -> None:
        """Another process takes over without a memory; its caches are full, but for one that is as old as the world."""
        self.manager = _Manager(cast(Client, self.client), self.clock)
        wired = setup_with_manager(self.manager, Settings(IMAGES, version="1"))
        self.context: ReconcilerContext = replace(wired, events=self.recorded)  # type: ignore[arg-type]
        self._stores: dict[str, ReflectorStore[Any]] = {}
        for name, informer in self.manager.cache.informers.items():
            informer.start()
            self._stores[name] = informer.reflector_store("")
        for (resource, _), obj in list(self.objects.items()):
            if resource in self._stores and resource != str(behind):
                self._show(resource, "ADDED", copy.deepcopy(obj))
        for resource, store in self._stores.items():
            store.advance("1" if resource == str(behind) else str(next(self._version)))
        self.runs, self.tasks = BatchRunReconciler(self.context), TaskReconciler(self.context)

    # What users do --------------------------------------------------------------------------------

    def apply(self, kind: str, name: str, spec: Json, **metadata: Any) -> Json:
        """Create an object of the project's own kinds, or change its spec."""
        known = self.objects.get((str(KINDS[kind]), name))
        if known is None:
            status = {"observedGeneration": -1} if kind in (c.KIND_BATCH_RUN, c.KIND_TASK) else {}
            return self.store(
                KINDS[kind],
                {"metadata": {"name": name, **metadata}, "spec": spec, "status": status},
            )
        known["metadata"]["generation"] += 1
        return self.store(KINDS[kind], known | {"spec": spec})

    def run(self, *, tasks: int = 1, name: str = "r", **spec: Any) -> Json:
        contexts = [[repository(f"service-{i}")] for i in range(tasks)]
        if not {"batchRef", "retryOf", "batchSpec"} & set(spec):
            spec["batchSpec"] = {"commonContext": [], "variableContexts": contexts}
        return self.apply(c.KIND_BATCH_RUN, name, spec)

    def task(self, *, name: str = "t", **spec: Any) -> Json:
        return self.apply(c.KIND_TASK, name, {"contexts": [repository("service")], **spec})

    def config(self, name: str = "default", **spec: Any) -> Json:
        return self.apply(c.KIND_WORKSPACE_CONFIG, name, spec)

    def change(self, kind: str, name: str, **spec: Any) -> Json:
        """Change fields of a spec."""
        return self.apply(kind, name, self.objects[str(KINDS[kind]), name]["spec"] | spec)

    # What the cluster does --------------------------------------------------------------------------

    def jobs(self) -> list[str]:
        """The names of all Jobs, in the order of their creation."""
        return [name for resource, name in self.objects if resource == str(JOBS)]

    def job(self, name: str = "r-task-0") -> Json:
        return self.objects[str(JOBS), name]

    def start(self, *names: str) -> None:
        """The agents of these Jobs run, each in a Pod of its own."""
        for name in names or self.jobs():
            state = {"running": {"startedAt": at(self.clock.passed - 1000.0)}}
            self.pod(name, _containers(state), phase="Running")

    def wait(self, name: str, reason: str, message: str = "") -> None:
        """The agent of a Job does not start, for this reason; ContainerCreating: no container of the Pod does."""
        state = {"waiting": {"reason": reason, "message": message}}
        containers = _containers(state)
        if reason == "ContainerCreating":
            containers["initContainerStatuses"][0]["state"] = state
        self.pod(name, containers, phase="Pending")

    def pod(self, job: str, containers: Json | None = None, **status: Any) -> Json:
        """A Job's Pod, created or changed; it is named after its Job."""
        owner = self.job(job)
        known = self.objects.get((str(PODS), f"{job}-pod")) or {
            "metadata": {
                "name": f"{job}-pod",
                "labels": OURS | {LABEL_CONTROLLER_UID: owner["metadata"]["uid"]},
                "ownerReferences": [_reference("batch/v1", "Job", owner)],
            },
            "spec": {"nodeName": "node1"},
        }
        status |= containers or {}
        return self.store(PODS, known | {"status": known.get("status", {}) | status})

    def end(self, *names: str, code: int = 0, message: str = "") -> None:
        """The agents of these Jobs end, and their Jobs with them."""
        for name in names or self.jobs():
            now = at(self.clock.passed - 1000.0)
            ended = {"exitCode": code, "message": message, "startedAt": at(-1), "finishedAt": now}
            containers = _containers({"terminated": ended})
            self.pod(name, containers, phase="Failed" if code else "Succeeded")
            self.finish(name, "Failed" if code else "Complete", failed=1 if code else 0)

    def enforce_deadlines(self) -> None:
        """The kubelet ends every Pod that has a second left."""
        for (resource, name), pod in list(self.objects.items()):
            if resource == str(PODS) and pod["spec"].get("activeDeadlineSeconds") == 1:
                job, agent = (
                    name.removesuffix("-pod"),
                    pod["status"]["containerStatuses"][0]["state"],
                )
                if "running" in agent:
                    agent = {
                        "terminated": agent["running"] | {"exitCode": 143, "finishedAt": at(0)}
                    }
                self.pod(job, _containers(agent), phase="Failed", reason="DeadlineExceeded")
                self.finish(job, "Failed", failed=1)

    def finish(self, name: str, condition: str, **status: Any) -> None:
        """The Job controller writes a final condition."""
        now = at(self.clock.passed - 1000.0)
        found = {"type": condition, "status": "True", "lastTransitionTime": now}
        self.store(JOBS, self.job(name) | {"status": status | {"conditions": [found]}})

    def vanish(self, resource: Resource, name: str) -> None:
        """An object is deleted, and is gone at once; a Job with its Pods."""
        gone = self.objects.pop((str(resource), name))
        gone["metadata"]["resourceVersion"] = str(next(self._version))
        self._publish(str(resource), "DELETED", gone)
        pod = self.objects.get((str(PODS), f"{name}-pod")) if resource == JOBS else None
        if pod is not None:
            pod["metadata"]["deletionTimestamp"] = at(0)
            self.vanish(PODS, f"{name}-pod")

    def tell(self, regarding: str, reason: str, message: str, type: str = "Warning") -> None:
        """An Event of a component of the cluster on a Job or Pod."""
        for resource in (JOBS, PODS):
            if (found := self.objects.get((str(resource), regarding))) is not None:
                involved = {
                    "kind": resource.kind,
                    "name": regarding,
                    "uid": found["metadata"]["uid"],
                }
                body = {
                    "involvedObject": involved,
                    "reason": reason,
                    "message": message,
                    "type": type,
                }
                name = f"{regarding}.{next(self._version)}"
                now = at(self.clock.passed - 1000.0)
                self.store(CORE_EVENTS, {"metadata": {"name": name}, "lastTimestamp": now} | body)

    # Trouble ------------------------------------------------------------------------------------------

    def refuse(
        self, verb: str, resource: Resource, error: Exception, *, name: str = "", times: int = 1
    ) -> None:
        """The next requests of that kind (for that name) are not carried out, and end with the error."""
        self._troubles += [(verb, str(resource), name, lambda: error)] * times

    def lose_answer(self, verb: str, resource: Resource, name: str = "") -> None:
        """The next request of that kind is carried out, and has no answer."""
        self._troubles.append((verb, str(resource), name, lambda: None))

    @contextmanager
    def lag(self, *resources: Resource) -> Iterator[None]:
        """The caches of these resources get nothing meanwhile, and everything afterwards."""
        for resource in resources:
            self._lagging[str(resource)] = []
        yield
        for resource in resources:
            for late in self._lagging.pop(str(resource)):
                late()

    # The reconcilers ------------------------------------------------------------------------------------

    async def reconcile(self, name: str = "r", *, seconds: float = 5.0, times: int = 1) -> Result:
        """Reconcile a BatchRun or Task, after so many seconds; more often where a test looks for a steady state."""
        for _ in range(times):
            self.clock.passed += seconds
            which = self.runs if (str(BATCH_RUNS), name) in self.objects else self.tasks
            result = await which.reconcile(Request(NAMESPACE, name))
        return result

    async def settle(self, *names: str) -> None:
        """Reconcile these until nothing is written any more."""
        for _ in range(20):
            before = len(self.writes())
            for name in names or ("r",):
                await self.reconcile(name)
            if len(self.writes()) == before:
                return
        raise AssertionError(f"{names or 'r'} does not settle: {self.requests[-20:]}")

    def status(self, name: str = "r") -> Json:
        for resource in (BATCH_RUNS, TASKS):
            if (found := self.objects.get((str(resource), name))) is not None:
                return cast(Json, found["status"])
        raise KeyError(name)

    def shown(self, name: str = "r") -> str:
        """``phase/reason`` of a run or Task."""
        status = self.status(name)
        return f"{status.get('phase')}/{status.get('reason')}"

    def entries(self, name: str = "r") -> list[str]:
        """``phase/reason`` of each task of a run."""
        return [f"{x['status']}/{x['reason']}" for x in self.status(name)["tasks"]]

    def woken(self) -> set[str]:
        """The names in the queues of the controllers, which are emptied."""
        names = set()
        for controller in self.manager.controllers.values():
            names |= {x.name for x in controller.queue._entries}
            controller.queue.discard()
        return names

    def writes(self) -> list[tuple[str, str, str]]:
        """Requests that change something."""
        return [x for x in self.requests if x[0] not in ("get", "list")]

    def sent(self, verb: str, resource: Resource) -> list[str]:
        """The names of the requests of that kind, in order."""
        return [name for v, r, name in self.requests if (v, r) == (verb, str(resource))]

    def events(self) -> list[str]:
        """The reasons of the Events on owners, in order."""
        return [reason for _, reason, _ in self.recorded.events]

    # The API server ---------------------------------------------------------------------------------------

    def store(self, resource: Resource, obj: Json) -> Json:
        """Write an object past the client."""
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        version = next(self._version)
        key = (str(resource), metadata["name"])
        metadata.setdefault("namespace", NAMESPACE)
        metadata.setdefault("uid", f"u-{metadata['name']}-{version}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", at(self.clock.passed - 1000.0))
        metadata["resourceVersion"] = str(version)
        obj |= {"apiVersion": resource.api_version, "kind": resource.kind}
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self.objects[key] = obj
        self._publish(key[0], kind, obj)
        return obj

    def _publish(self, resource: str, kind: str, obj: Json) -> None:
        seen = copy.deepcopy(obj)
        if resource in self._lagging:
            self._lagging[resource].append(lambda: self._show(resource, kind, seen))
        elif resource in getattr(self, "_stores", {}):
            self._show(resource, kind, seen)

    def _show(self, resource: str, kind: str, obj: Json) -> None:
        store, labels = self._stores[resource], obj["metadata"].get("labels", {})
        selected = resource not in (str(JOBS), str(PODS)) or OURS.items() <= labels.items()
        store.apply(kind if selected else "DELETED", obj)
        store.advance(obj["metadata"]["resourceVersion"])

    def trouble(self, verb: str, resource: Resource, name: str) -> Answer | None:
        for position, (v, r, n, answer) in enumerate(self._troubles):
            if (v, r) == (verb, str(resource)) and n in ("", name):
                del self._troubles[position]
                return answer
        return None


class FakeClient:
    """The client's methods that the reconcilers call."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        return await self._send("get", resource, name, lambda: self._find(resource, name))

    async def list(
        self, resource: Resource, namespace: str, *, params: Json, timeout: float = 0.0
    ) -> Json:
        def work() -> Json:
            items = [x for (r, _), x in self._cluster.objects.items() if r == str(resource)]
            for wanted in filter(None, params.get("labelSelector", "").split(",")):
                key, _, value = wanted.partition("=")
                items = [x for x in items if x["metadata"].get("labels", {}).get(key) == value]
            for wanted in filter(None, params.get("fieldSelector", "").split(",")):
                items = [x for x in items if _matches(x, *wanted.split("="))]
            version = str(next(self._cluster._version))
            return {"metadata": {"resourceVersion": version}, "items": items}

        return await self._send("list", resource, "", work)

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        def work() -> Json:
            if (str(resource), body["metadata"]["name"]) in self._cluster.objects:
                raise APIStatusError(code=409, reason="AlreadyExists")
            return self._cluster.store(resource, body)

        return await self._send("create", resource, body["metadata"]["name"], work)

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        **_: Any,
    ) -> Json:
        def work() -> Json:
            found = self._find(resource, name)
            if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise APIStatusError(code=409, reason="Conflict")
            return self._cluster.store(resource, found | {"status": body["status"]})

        return await self._send("update", resource, name, work)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        def work() -> Json:
            found = copy.deepcopy(self._find(resource, name))
            for key in ("uid", "resourceVersion"):
                if body.get("metadata", {}).get(key) not in (None, found["metadata"][key]):
                    raise APIStatusError(code=409, reason="Conflict")
            _merge(found, body)
            return self._cluster.store(resource, found)

        return await self._send("patch", resource, name, work)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        propagation: str = "Background",
    ) -> Json:
        def work() -> Json:
            if self._find(resource, name)["metadata"]["uid"] != uid:
                raise APIStatusError(code=409, reason="Conflict")
            self._cluster.vanish(resource, name)
            return {}

        return await self._send("delete", resource, name, work)

    def _find(self, resource: Resource, name: str) -> Json:
        found = self._cluster.objects.get((str(resource), name))
        if found is None:
            raise APIStatusError(code=404, reason="NotFound")
        return found

    async def _send(
        self, verb: str, resource: Resource, name: str, work: Callable[[], Json]
    ) -> Json:
        await asyncio.sleep(0)
        self._cluster.requests.append((verb, str(resource), name))
        trouble = self._cluster.trouble(verb, resource, name)
        error = trouble() if trouble is not None else None
        if error is not None:
            raise error
        answer = copy.deepcopy(work())
        if trouble is not None:
            raise TransportError("the connection broke")
        return answer


def repository(repo: str) -> Json:
    return {"type": "Repository", "repository": {"org": "acme", "repo": repo}}


def inline(name: str, text: str) -> Json:
    return {"type": "File", "file": {"name": name, "source": {"inline": text}}}


def server_error(code: int = 500, message: str = "") -> ClientError:
    return APIStatusError(code=code, message=message)


def _containers(agent: Json) -> Json:
    done = {"exitCode": 0, "startedAt": at(-9), "finishedAt": at(-8)}
    ready = {"name": c.CONTAINER_WORKSPACE, "state": {"terminated": done}}
    return {
        "initContainerStatuses": [ready],
        "containerStatuses": [{"name": c.CONTAINER_AGENT, "state": agent}],
    }


def _reference(api_version: str, kind: str, owner: Json) -> Json:
    found = owner["metadata"]
    ids = {"name": found["name"], "uid": found["uid"], "controller": True}
    return {"apiVersion": api_version, "kind": kind, **ids}


def _matches(obj: Json, path: str, value: str) -> bool:
    if path == "status.successful":
        return str(obj.get("status", {}).get("succeeded", 0)) == value
    found: Any = obj
    for part in path.split("."):
        found = found.get(part, "")
    return bool(found == value)


def _merge(into: Json, patch: Json) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


__all__ = ["CONFIGMAPS", "CONTROLLERREVISIONS", "JOBS", "NAMESPACE", "PODS", "Cluster"]
