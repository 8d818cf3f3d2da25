"""Starting tasks: a place in the shared limit, the create, and the note that keeps a lagging cache from being believed."""

from collections.abc import Sequence
from typing import Any

from kubetask_controller.client.resources import JOBS
from kubetask_controller.reconcilers import files
from kubetask_controller.reconcilers.context import Shared, owner_key
from kubetask_controller.reconcilers.jobcontrol import CreateResult, Made, slow_start
from kubetask_controller.reconcilers.jobtemplate import Template
from kubetask_controller.reconcilers.projections import JobView
from kubetask_controller.reconcilers.slots import Owner, Pool

Item = tuple[int | None, list[dict[str, Any]]]
"""The index of a task (None for a Task) and its contexts."""


class Launcher:
    """Creates the Jobs of one owner."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def launch(
        self, template: Template, items: Sequence[Item]
    ) -> list[tuple[int | None, CreateResult]]:
        """Create the Jobs of these tasks, a few first, then more; stops where one was not made.

        Returns the results of those that were tried. The caller has been granted a place for each of them.
        """
        owner, shared = template.owner, self._shared
        pool: Pool = (owner.namespace, template.config_name)
        holder: Owner = (owner.kind, owner.name)

        async def create(item: Item) -> tuple[int | None, CreateResult]:
            index, contexts = item
            body = template.job(contexts, index)
            name = body["metadata"]["name"]
            shared.slots.reserve(pool, holder, name)
            result = await shared.control.create(body)
            if result.ours and result.job:
                self.saw(owner, result.job)
            elif result.made is not Made.UNKNOWN:
                shared.slots.release(pool, name)
            return index, result

        return await slow_start(items, create, failed=lambda done: not done[1].ours)

    def saw(self, owner: files.Owner, job: JobView) -> None:
        """Note how new a Job is that the API server gave: an older cache may not say that it is gone."""
        self._shared.consistency.wrote_at(
            owner_key(owner.kind, owner.namespace, owner.name),
            owner.uid,
            str(JOBS),
            owner.namespace,
            job.resource_version,
        )
