"""Starting the tasks of a run that may start."""

from collections.abc import Sequence

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.client.errors import ClientError
from kubetask_controller.reconcilers import files, names
from kubetask_controller.reconcilers.batchrun.memory import RunMemory
from kubetask_controller.reconcilers.context import Shared
from kubetask_controller.reconcilers.jobcontrol import CreateResult, Made
from kubetask_controller.reconcilers.jobtemplate import Template
from kubetask_controller.reconcilers.launcher import Launcher
from kubetask_controller.reconcilers.outcome import TaskState
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.slots import Pool
from kubetask_controller.reconcilers.waiting import Waiting
from kubetask_controller.reconcilers.workspaceconfig import Environment, resolve

MAX_CREATES = 500
"""Jobs that one reconcile creates at most, as in the Job controller: the status is written in between."""

AT_ONCE = 0.001
"""Seconds until a start goes on that had more to create than one reconcile does."""

_RETRY = (1.0, 60.0)
"""Seconds until a refused create is tried again: the first time, and at most."""


class Starter:
    """Creates the Jobs of a run."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._launcher = Launcher(shared)

    async def start(
        self, run: ResourceView, memory: RunMemory, indexes: Sequence[int]
    ) -> tuple[Waiting | None, float]:
        """Create the Jobs of these tasks, as far as there is room.

        Returns why some of them did not start, and the seconds after which to try again (0: something will wake us).
        """
        assert memory.snapshot is not None
        if not indexes:
            return None, 0.0
        ref = run.spec.get("workspaceConfigRef") or memory.snapshot.workspace_config_ref
        environment = resolve(self._shared.views.configs, run.namespace, ref)
        if isinstance(environment, Waiting):
            return environment, 0.0
        pool = (run.namespace, environment.name)
        ready = await self._ready(run, memory, indexes, pool)
        granted = self._shared.slots.grant(
            pool,
            (c.KIND_BATCH_RUN, run.name),
            wanted=len(ready),
            limit=environment.max_concurrent_tasks,
        )
        batch = ready[: min(granted, MAX_CREATES)]
        if batch:
            blocked, retry = await self._create(run, memory, environment, batch)
            if blocked:
                return blocked, retry
        if granted < len(ready):
            limit = environment.max_concurrent_tasks
            return Waiting(
                Reason.QUEUED,
                f"maxConcurrentTasks {limit} of WorkspaceConfig {environment.name} are in use",
            ), 0.0
        return None, AT_ONCE if len(batch) < len(ready) else 0.0

    async def _ready(
        self, run: ResourceView, memory: RunMemory, indexes: Sequence[int], pool: Pool
    ) -> list[int]:
        """Those of which it is known that no Job was made. What cannot be looked up now holds no other one up."""
        ready: list[int] = []
        failed = False
        for index in indexes:
            if index in memory.unsure:
                if failed:
                    continue
                try:
                    if await self._was_made(run, memory, index, pool):
                        continue
                except ClientError as error:
                    # One such answer is enough: each of the others might take as long.
                    failed, memory.problem = True, error
                    continue
            ready.append(index)
        return ready

    async def _create(
        self, run: ResourceView, memory: RunMemory, environment: Environment, batch: Sequence[int]
    ) -> tuple[Waiting | None, float]:
        assert memory.snapshot is not None
        owner = files.Owner(c.KIND_BATCH_RUN, run.namespace, run.name, run.uid)
        await self._make_files(memory, owner)
        template = Template(
            owner=owner,
            labels=run.labels,
            spec=run.spec,
            config=environment.spec,
            config_name=environment.name,
            images=self._shared.images,
            inline=memory.places,
        )
        items = [(i, memory.snapshot.contexts(i)) for i in batch]
        blocked: Waiting | None = None
        # Should this be cancelled on the way, nobody has told what was made of them.
        memory.unsure.update(batch)
        results = await self._launcher.launch(template, items)
        memory.unsure.difference_update(batch)
        for index, result in results:
            assert index is not None
            _note(run, memory, index, result)
            memory.advanced = memory.advanced or result.ours
            blocked = blocked or result.waiting
            memory.problem = memory.problem or result.error
        if blocked is None:
            memory.refusals = 0
            return None, 0.0
        memory.refusals += 1
        first, most = _RETRY
        return blocked, min(first * 2 ** (memory.refusals - 1), most)

    async def _make_files(self, memory: RunMemory, owner: files.Owner) -> None:
        if memory.files_made or memory.snapshot is None:
            return
        snapshot = memory.snapshot
        everything = [*snapshot.common, *(x for part in snapshot.variable for x in part)]
        packed = files.pack(owner, everything)
        await files.ensure(self._shared.client, packed)
        memory.places = dict(packed.places)
        memory.files_made = True

    async def _was_made(self, run: ResourceView, memory: RunMemory, index: int, pool: Pool) -> bool:
        """Whether a create that had no answer was carried out: look, before it is asked again."""
        name = names.run_job_name(run.name, run.uid, index)
        owner = files.Owner(c.KIND_BATCH_RUN, run.namespace, run.name, run.uid)
        job = await self._shared.control.find(run.namespace, name, run.uid)
        if job is None:
            ran = await self._shared.evidence.jobs_that_had_pods(run.namespace, {name}, run.created)
            if not ran:
                memory.unsure.discard(index)
                self._shared.slots.release(pool, name)
                return False
        _made(memory, index)
        if job is not None:
            self._launcher.saw(owner, job)
            memory.states[index] = TaskState(Phase.PENDING, Reason.STARTING, "", name)
        return True


def _made(memory: RunMemory, index: int) -> None:
    memory.made.add(index)
    memory.unsure.discard(index)
    if memory.touched is not None:
        # To be looked at once the cache has come this far: a Job that is deleted before the cache has heard of it is
        # never heard of at all.
        memory.touched.add(index)


def _note(run: ResourceView, memory: RunMemory, index: int, result: CreateResult) -> None:
    name = names.run_job_name(run.name, run.uid, index)
    if result.ours:
        _made(memory, index)
        memory.states[index] = TaskState(Phase.PENDING, Reason.STARTING, "", name)
    elif result.made is Made.FOREIGN:
        text = f"Job {name} exists and belongs to another object; it is left alone"
        memory.states[index] = TaskState(Phase.FAILED, Reason.NAME_CONFLICT, text)
    elif result.made is Made.UNKNOWN:
        memory.unsure.add(index)
