"""The Batch of a run: targets of tasks whose contexts the status omits, and the WorkspaceConfig.

They come from the run's batchSpec, else from the ControllerRevision of its snapshot. Users without
the right to read it see only indexes.
"""

from collections.abc import Iterable, Mapping, Sequence

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Omitted
from kubetask_controller.cli.runview import TaskRow, target_of
from kubetask_controller.cli.session import Session
from kubetask_controller.client import ClientError, Resource
from kubetask_controller.client.errors import is_not_found
from kubetask_controller.client.resources import CONTROLLERREVISIONS
from kubetask_controller.types import JSON

WORKSPACE_CONFIGS = Resource(c.GROUP, c.VERSION, c.PLURAL_WORKSPACE_CONFIG, c.KIND_WORKSPACE_CONFIG)


class Targets:
    """Reads targets, once for each run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Mapping[int, str]] = {}

    async def of(self, run: JSON) -> Mapping[int, str]:
        """Map of index to target; empty if the status contains the contexts, or the snapshot is not readable."""
        status = run.get("status") or {}
        if Omitted.CONTEXTS not in (status.get("omitted") or ()):
            return {}
        uid = str(run["metadata"].get("uid", ""))
        if uid not in self._known:
            work = await batch_spec(self._session, run)
            lists = work.get("variableContexts") or []
            self._known[uid] = {i: target_of(contexts) for i, contexts in enumerate(lists)}
        return self._known[uid]


async def batch_spec(session: Session, run: JSON) -> JSON:
    """The spec of a run's Batch; empty if its snapshot is not readable."""
    work = (run.get("spec") or {}).get("batchSpec")
    name = (run.get("status") or {}).get("batchSnapshot")
    if isinstance(work, dict) or not name:
        return work or {}
    try:
        revision = await session.client.get(CONTROLLERREVISIONS, session.namespace, name)
    except ClientError:
        return {}
    data = revision.get("data")
    return data if isinstance(data, dict) else {}


async def workspace_config(session: Session, run: JSON) -> JSON | None:
    """The WorkspaceConfig of a BatchRun or Task; empty if none is named and there is no default; None if unreadable."""
    name = (run.get("spec") or {}).get("workspaceConfigRef")
    name = name or (await batch_spec(session, run)).get("workspaceConfigRef")
    try:
        return await session.client.get(
            WORKSPACE_CONFIGS, session.namespace, str(name or c.WORKSPACE_CONFIG_DEFAULT)
        )
    except ClientError as error:
        return {} if not name and is_not_found(error) else None


async def task_repositories(
    session: Session, run: JSON, rows: Iterable[TaskRow]
) -> Mapping[int, Sequence[JSON]]:
    """The repositories of each task, by index, as in ``repository`` of its contexts.

    Those of the commonContext are missing if the snapshot of the Batch is not readable.
    """
    if (contexts := (run.get("spec") or {}).get("contexts")) is not None:
        return {x.index: _repositories(contexts) for x in rows}
    work = await batch_spec(session, run)
    lists = work.get("variableContexts") or []
    common = _repositories(work.get("commonContext") or ())
    found = {}
    for row in rows:
        own = row.entry.get("contexts") or (lists[row.index] if row.index < len(lists) else ())
        found[row.index] = [*common, *_repositories(own)]
    return found


def _repositories(contexts: Iterable[JSON]) -> list[JSON]:
    return [x["repository"] for x in contexts if x.get("repository")]
