"""The kubelet: a worker for every Pod that is bound to its node.

It ignores Pods with the annotation of the stand-in. A Pod that has ended has no worker; its logs stay until
the Pod is removed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import PODS, LocalClient

from . import termination, timing
from .options import OUTCOME_ANNOTATION
from .podstate import PodState
from .podstatus import FINAL_PHASES
from .podworker import PodWorker, WorkerContext

Object = dict[str, Any]

log = logging.getLogger("devcluster.node")

ADDRESSES = 65536


class Kubelet:
    """Runs the Pods of the node `name`. `see` receives every change of any Pod and only enqueues it."""

    def __init__(self, name: str, context: WorkerContext, client: LocalClient) -> None:
        self._name = name
        self._context = context
        self._client = client
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._addresses = 0
        self._stopping = False

    def see(self, new: Object | None, old: Object | None) -> None:
        """A Pod was created, changed or removed (`new` None)."""
        if new is None:
            assert old is not None
            self._removed(old)
            return
        if not self._ours(new):
            return
        uid = new["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is not None:
            asyncio.get_running_loop().call_soon(worker.update, new)
        elif _ended(new):
            if "deletionTimestamp" in new["metadata"]:
                self._do(self._remove(new))
        else:
            self._begin(new)

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a Pod that has not ended."""
        for each in self._workers.values():
            metadata = each.state.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return each
        return None

    async def stop(self) -> None:
        """Kill the processes of all Pods, and wait until they have ended. Statuses stay unchanged."""
        self._stopping = True
        for worker in self._workers.values():
            worker.abandon()
        tasks = [*self._tasks.values(), *self._chores]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timing.STOP_SECONDS)
            for task in late:
                task.cancel()
        self._workers.clear()
        self._tasks.clear()

    def _ours(self, pod: Object) -> bool:
        annotations = pod["metadata"].get("annotations") or {}
        return pod["spec"].get("nodeName") == self._name and OUTCOME_ANNOTATION not in annotations

    def _begin(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._addresses = (self._addresses + 1) % ADDRESSES
        ip = f"127.244.{self._addresses >> 8}.{self._addresses & 255}"
        worker = PodWorker(self._context, PodState.new(pod, ip, self._context.clock.stamp()))
        self._workers[uid] = worker
        self._tasks[uid] = asyncio.create_task(self._work(uid, worker), name=f"pod-{uid}")

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            if not recover(worker):
                await worker.run()
        except Exception:
            log.exception("pod %s", worker.state.full_name)
            raise
        finally:
            self._workers.pop(uid, None)
            self._tasks.pop(uid, None)
        if self._stopping:
            return
        latest = self._client.find(PODS, worker.namespace, worker.name)
        if latest is None or latest["metadata"]["uid"] != uid:
            await self._clean(worker.state.pod)
        elif "deletionTimestamp" in latest["metadata"]:
            await self._remove(latest)

    def _removed(self, pod: Object) -> None:
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            worker.gone()
        elif self._ours(pod):
            self._do(self._clean(pod))

    async def _remove(self, pod: Object) -> None:
        """Delete the object of a Pod whose processes have ended."""
        metadata = pod["metadata"]
        try:
            self._client.delete(
                PODS,
                metadata["namespace"],
                metadata["name"],
                uid=metadata["uid"],
                grace_period_seconds=0,
            )
        except StatusError as error:
            if error.code not in (404, 409):
                log.warning("removing pod %s: %s", metadata["name"], error.message)

    async def _clean(self, pod: Object) -> None:
        for folder in (self._context.logs(pod), self._context.folder(pod)):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _do(self, chore: Any) -> None:
        """Run something after the write that is being reported."""
        task = asyncio.create_task(chore, name="pod-chore")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in FINAL_PHASES


def pod_folder(base: Path, pod: Object) -> Path:
    """Directory of a Pod's volumes and containers."""
    return base / "pods" / str(pod["metadata"]["uid"])


def log_folder(base: Path, pod: Object) -> Path:
    """Directory of a Pod's logs."""
    metadata = pod["metadata"]
    return base / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def recover(worker: PodWorker) -> bool:
    """End a Pod of which containers had run before this node started. False for one that may start afresh."""
    status = worker.state.pod.get("status") or {}
    reported = {
        each["name"]: each
        for field in ("initContainerStatuses", "containerStatuses")
        for each in status.get(field) or ()
    }
    if not any(each.get("containerID") for each in reported.values()):
        return False
    state = worker.state
    state.start_time = status.get("startTime") or state.start_time
    for container in state.containers:
        before = reported.get(container.name, {})
        container.container_id = before.get("containerID", "")
        container.image_id = before.get("imageID", "")
        container.restarts = before.get("restartCount", 0)
        container.last_state = before.get("lastState") or {}
        if "terminated" in before.get("state", {}):
            container.state = before["state"]
        elif container.container_id:
            container.state = termination.lost()
    worker.close()
    return True
