"""The lifecycle of one Pod on the node: volumes, init containers, containers, restarts, termination.

Guarantees: statuses are written in the order of a kubelet's; a final phase is written only when nothing of
the Pod runs any more; when `run` returns, no process of the Pod is left.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import PODS, LocalClient
from devcluster.controllers.clock import Clock, unix

from . import podstatus, termination, timing
from .containers import Containers, PodFolders, RecordEvent, WaitingError, await_startup, settle
from .podstate import ContainerKind, ContainerState, PodState
from .runtime import Exit, Process, StartError
from .termination import Stopper
from .timing import Backoffs
from .volumes import VolumeContext, VolumeError, Volumes

Object = dict[str, Any]

log = logging.getLogger("devcluster.node")

DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class Ending(Enum):
    """Why the node ends a Pod before it ends by itself."""

    DELETED = "deleted"
    DEADLINE = "deadline"
    EVICTED = "evicted"
    GONE = "gone"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """State that all workers of a node share. `starting` limits how many containers start at once."""

    client: LocalClient
    clock: Clock
    containers: Containers
    volumes: VolumeContext
    record: RecordEvent
    folder: Callable[[Object], Path]
    logs: Callable[[Object], Path]
    host_ip: str
    starting: asyncio.Semaphore


class PodWorker:
    """Runs one Pod. Give it every newer object by `update`."""

    def __init__(self, context: WorkerContext, state: PodState) -> None:
        self._context = context
        self.state = state
        self.namespace: str = state.pod["metadata"]["namespace"]
        self.name: str = state.pod["metadata"]["name"]
        self._folder = context.folder(state.pod)
        self._folders = PodFolders({}, self._folder / "containers", context.logs(state.pod))
        self._backoffs = Backoffs()
        self._stopper = Stopper(self.state, context.record)
        self._ending: Ending | None = None
        self._asked = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._silent = False
        self._all_tried = asyncio.Event()
        self._failed_once: set[str] = set()

    # --- changes from outside

    def update(self, pod: Object) -> None:
        """Apply a newer object: a deletion, a shorter grace period, another deadline."""
        self.state.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._end(Ending.DELETED)
        self._stopper.changed(self._grace())
        self._arm_deadline()

    def gone(self) -> None:
        """End the Pod because its object was removed; no process of it may continue."""
        self._end(Ending.GONE)
        self._stopper.changed(self._grace())

    def evict(self, message: str) -> None:
        """End the Pod as a node does under resource pressure."""
        self.state.failure = ("Evicted", message)
        condition = {"type": podstatus.DISRUPTION_TARGET, "status": "True"}
        self.state.disruption = {**condition, "reason": "TerminationByKubelet", "message": message}
        self._context.record(self.state, "Warning", "Evicted", message, None)
        self._end(Ending.EVICTED)

    def abandon(self) -> None:
        """Kill the Pod's processes because the node stops. The Pod's status stays unchanged."""
        self._end(Ending.STOPPED)
        self._stopper.changed(0.0)

    def _end(self, why: Ending) -> None:
        if self._ending is None or why in (Ending.GONE, Ending.STOPPED):
            self._ending = why
        self._asked.set()

    def _grace(self) -> float:
        pod = self.state.pod
        if self._ending is Ending.EVICTED:
            return 0.0
        if self._ending is Ending.GONE:
            return timing.FORCED_GRACE_SECONDS
        spec: float = pod["spec"].get("terminationGracePeriodSeconds", timing.DEFAULT_GRACE_SECONDS)
        return float(pod["metadata"].get("deletionGracePeriodSeconds", spec))

    def _arm_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        limit = self.state.pod["spec"].get("activeDeadlineSeconds")
        if limit is None or self.state.final:
            return
        left = unix(self.state.start_time) + limit - self._context.clock.now()
        self._deadline = asyncio.get_running_loop().call_later(max(left, 0.0), self._run_out)

    def _run_out(self) -> None:
        if self._ending is None and not self.state.final:
            self.state.failure = DEADLINE
            self._end(Ending.DEADLINE)

    # --- lifecycle

    async def run(self) -> None:
        """Run the Pod up to its final phase. Afterwards only its logs remain."""
        try:
            self.update(self.state.pod)
            living = asyncio.create_task(self._live())
            requested = asyncio.create_task(self._asked.wait())
            try:
                await asyncio.wait({living, requested}, return_when=asyncio.FIRST_COMPLETED)
                if living.done() and not living.cancelled():
                    living.result()
            finally:
                for task in (living, requested):
                    task.cancel()
                await asyncio.gather(living, requested, return_exceptions=True)
            if not self.state.final and self._ending is not Ending.STOPPED:
                await self._terminate()
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            self._stopper.close()
            await settle(*(each.process for each in self.state.containers))
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _live(self) -> None:
        """Run the containers until the Pod is ended. Cancelling leaves processes running."""
        state = self.state
        self.write()
        await self._mount()
        await self._context.clock.pause(timing.SANDBOX_SECONDS)
        state.sandbox = True
        self.write()
        async with asyncio.TaskGroup() as group:
            sidecars: list[asyncio.Task[None]] = []
            for each in state.inits:
                started = asyncio.Event()
                task = group.create_task(self._run(each, started))
                if each.kind is ContainerKind.SIDECAR:
                    sidecars.append(task)
                    await started.wait()
                    continue
                await task
                if not each.ready:
                    break
            else:
                await self._run_mains()
            for task in sidecars:
                task.cancel()
        if sidecars:
            await self._end_with_sidecars()
        self.close()

    async def _run_mains(self) -> None:
        """Start the containers one after the other. The status is written after the first try of each one."""
        mains = self.state.mains
        async with asyncio.TaskGroup() as group:
            self._silent = len(mains) > 1
            for each in mains:
                tried = asyncio.Event()
                group.create_task(self._run(each, tried))
                await tried.wait()
            if self._silent:
                await asyncio.sleep(timing.SETTLE_SECONDS)
                self._silent = False
                self.write()
            self._all_tried.set()

    async def _mount(self) -> None:
        """Set up the volumes; each failure is recorded as an Event and retried."""
        volumes = Volumes(self._context.volumes, self.state, self._folder / "volumes")
        ready: dict[str, Path] = {}
        delay = timing.MOUNT_BACKOFF_SECONDS
        while True:
            for each in self.state.pod["spec"].get("volumes") or ():
                if each["name"] in ready:
                    continue
                try:
                    ready[each["name"]] = volumes.set_up(each)
                except (VolumeError, OSError) as error:
                    message = f'MountVolume.SetUp failed for volume "{each["name"]}" : {error}'
                    self._context.record(self.state, "Warning", "FailedMount", message, None)
            if len(ready) == len(self.state.pod["spec"].get("volumes") or ()):
                break
            await self._context.clock.pause(delay)
            delay = min(delay * 2, timing.MOUNT_BACKOFF_MAX_SECONDS)
        self._folders = PodFolders(ready, self._folder / "containers", self._folders.logs)

    # --- one container

    async def _run(self, container: ContainerState, started: asyncio.Event) -> None:
        """Run a container until it has ended for good. `started`: it runs, or, of an ordinary container, it was tried."""
        try:
            while True:
                begun = self._context.clock.monotonic()
                if await self._start(container, started):
                    assert container.process is not None
                    if container.kind is ContainerKind.MAIN:
                        started.set()
                    if container.starting:
                        await self._await_startup(container, container.process)
                    started.set()
                    end = await asyncio.shield(container.process.exited)
                    if end.seconds > timing.SEEN_SECONDS:
                        await self._seen(container)
                    self._ended(container, end)
                if not self._restarts(container):
                    return
                started.set()
                await self._wait_to_restart(container, self._context.clock.monotonic() - begun)
        finally:
            started.set()

    async def _await_startup(self, container: ContainerState, process: Process) -> None:
        """Wait until the container's startupProbe succeeds, or until the container has ended."""
        probe = asyncio.create_task(await_startup(container.spec, self.state.ip))
        either: set[asyncio.Future[Any]] = {probe, process.exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
        container.starting = False
        if not process.exited.done():
            self.write()

    async def _seen(self, container: ContainerState) -> None:
        """A container that ran for a while is shown as running, also where the next one takes long to start."""
        if container.kind is ContainerKind.MAIN:
            await self._all_tried.wait()

    async def _start(self, container: ContainerState, tried: asyncio.Event) -> bool:
        """Start the container, with as many tries as needed. Returns False if its program cannot run."""
        context = self._context
        while True:
            try:
                image = await context.containers.pull(self.state, container)
                config = context.containers.configure(self.state, container, image, self._folders)
                break
            except WaitingError as error:
                if container.kind is ContainerKind.MAIN:
                    tried.set()
                await self._wait_for(container, error)
        if container.attempt >= 0:
            container.last_state = container.state if container.terminated else container.last_state
            container.restarts += 1
        try:
            async with context.starting:
                await context.containers.start(self.state, container, config, self._folders)
        except StartError as error:
            finished = context.clock.stamp()
            container.state = termination.start_error(
                str(error), finished=finished, container_id=container.container_id
            )
            self.write()
            return False
        container.state = {"running": {"startedAt": context.clock.stamp()}}
        container.starting = "startupProbe" in container.spec
        self.write()
        return True

    async def _wait_for(self, container: ContainerState, error: WaitingError) -> None:
        """Record an Event with the reason why a container is not created, and wait for the next try."""
        image = error.reason != "CreateContainerConfigError"
        text = f"Error: {error.reason if image else error.message}"
        self._context.record(self.state, "Warning", "Failed", text, container)
        clock = self._context.clock
        if self._shows_later(container):
            await clock.pause(timing.RESYNC_SECONDS)
            self._show_waiting(container, error.reason, error.message)
            return
        self._show_waiting(container, error.reason, error.message)
        if error.reason != "ErrImagePull":
            await clock.pause(timing.RESYNC_SECONDS)
            return
        delay = self._backoffs.next(f"pull {container.spec['image']}")
        await clock.pause(timing.RESYNC_SECONDS)
        message = f'Back-off pulling image "{container.spec["image"]}"'
        self._context.record(self.state, "Normal", "BackOff", message, container)
        why = f"{message}: ErrImagePull: {error.message}"
        self._context.record(self.state, "Warning", "Failed", "Error: ImagePullBackOff", container)
        self._show_waiting(container, "ImagePullBackOff", why)
        await clock.pause(delay - timing.RESYNC_SECONDS)

    def _shows_later(self, container: ContainerState) -> bool:
        """Whether the status shows a failure only when it is tried again: the first one after init containers.

        A kubelet writes the waiting reason of a container at its next sync of the Pod. Without init containers the new
        sandbox causes a sync at once. After init containers nothing does, and until then only an Event has the reason.
        """
        first = container.name not in self._failed_once
        self._failed_once.add(container.name)
        return first and container.kind is ContainerKind.MAIN and bool(self.state.inits)

    def _show_waiting(self, container: ContainerState, reason: str, message: str) -> None:
        if container.terminated:
            container.last_state = container.state
        container.state = {"waiting": {"reason": reason, "message": message}}
        self.write()

    def _restarts(self, container: ContainerState) -> bool:
        if container.kind is ContainerKind.SIDECAR:
            return True
        policy = self.state.restart_policy
        failed = container.terminated is None or container.terminated["exitCode"] != 0
        if container.kind is ContainerKind.MAIN and policy == "Always":
            return True
        return failed and policy != "Never"

    async def _wait_to_restart(self, container: ContainerState, ran: float) -> None:
        """Wait before a restart: the first one is immediate, later ones follow an increasing delay."""
        key = f"start {container.name}"
        if ran > timing.BACKOFF_RESET_SECONDS:
            self._backoffs.reset(key)
        delay = self._backoffs.next_after_first(key)
        if not delay:
            return
        where = self.state.full_name
        message = f"Back-off restarting failed container {container.name} in pod {where}"
        self._context.record(self.state, "Warning", "BackOff", message, container)
        container.last_state = container.state
        why = f"back-off {_go_duration(delay)} restarting failed container={container.name} pod={where}"
        container.state = {"waiting": {"reason": "CrashLoopBackOff", "message": why}}
        self.write()
        await self._context.clock.pause(delay)

    def _ended(self, container: ContainerState, end: Exit) -> None:
        message = termination.message_of(
            container.spec,
            end.code,
            file=self._folders.termination(container.name, container.attempt),
            log=self._folders.log(container.name, container.attempt),
            containers=len(self.state.containers),
        )
        container.state = termination.terminated(
            end,
            message,
            started=container.state["running"]["startedAt"],
            finished=self._context.clock.stamp(),
            container_id=container.container_id,
        )
        if not self.state.terminating:  # otherwise reported when all containers have ended
            self.write()

    # --- termination

    async def _terminate(self) -> None:
        """End the container with its grace period, in any state."""
        state = self.state
        state.terminating = True
        self._silent = False
        initialized = all(each.ready for each in state.inits)
        self._tell_deadline(times=2)
        self.write()
        self._stopper.begin(self._grace())
        first = [each for each in state.containers if each.kind is not ContainerKind.SIDECAR]
        await asyncio.gather(*(self._stop(each) for each in first))
        await self._stop_sidecars()
        if initialized:
            self._mark_lost()
        self.close()
        self._tell_deadline(times=2)

    async def _end_with_sidecars(self) -> None:
        """Stop the sidecars once all other containers have ended, and report their end at once."""
        self._stopper.begin(self._grace())
        self._silent = True
        await self._stop_sidecars()
        self._silent = False
        if all(each.terminated for each in self.state.mains):
            self.state.sandbox_stopped = True
            self.write()

    async def _stop_sidecars(self) -> None:
        """Restartable init containers end last, in the reverse of their order."""
        for each in reversed(self.state.inits):
            if each.kind is ContainerKind.SIDECAR:
                await self._stop(each)

    async def _stop(self, container: ContainerState) -> None:
        if container.process is None:
            return
        if not container.running:
            await container.process.kill()  # it was about to start
            return
        end = await self._stopper.stop(container)
        self._ended(container, end)

    def _mark_lost(self) -> None:
        """Containers that never ran count as failed if the Pod was initialized (status_manager.go, TerminatePod)."""
        for each in self.state.mains:
            if each.terminated is None:
                each.state = termination.lost()

    def close(self) -> None:
        """Write the Pod's last status, after all of its processes have ended."""
        self.state.final = True
        self.write()

    def _tell_deadline(self, *, times: int) -> None:
        """A kubelet records this at every sync of the Pod: four times until the Pod has ended."""
        if self.state.failure == DEADLINE:
            for _ in range(times):
                self._context.record(self.state, "Normal", *DEADLINE, None)

    def write(self) -> None:
        """Write the Pod's status if it changed and the Pod is still there."""
        if self._silent:
            return
        context, uid = self._context, self.state.pod["metadata"]["uid"]

        def change(current: Object) -> Object | None:
            if current["metadata"]["uid"] != uid:
                return None
            self.state.pod = current
            old = current.get("status") or {}
            status = podstatus.build(
                self.state, old, host_ip=context.host_ip, now=context.clock.stamp()
            )
            return None if status == old else {**current, "status": status}

        try:
            context.client.mutate(PODS, self.namespace, self.name, change, subresource="status")
        except StatusError as error:
            if error.code != 404:
                log.warning("status of pod %s: %s", self.state.full_name, error.message)


def _go_duration(seconds: float) -> str:
    """Seconds as Go writes a duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
