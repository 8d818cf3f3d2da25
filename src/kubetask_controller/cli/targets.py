"""Targets of the tasks of a run whose status omits contexts.

They come from the run's batchSpec, else from the ControllerRevision of its snapshot. Users without
the right to read it see only indexes.
"""

from collections.abc import Mapping

from kubetask_controller.api.constants import Omitted
from kubetask_controller.cli.runview import target_of
from kubetask_controller.cli.session import Session
from kubetask_controller.client import ClientError
from kubetask_controller.client.resources import CONTROLLERREVISIONS
from kubetask_controller.types import JSON


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
            work = run["spec"].get("batchSpec") or await self._snapshot(status)
            lists = work.get("variableContexts") or []
            self._known[uid] = {i: target_of(contexts) for i, contexts in enumerate(lists)}
        return self._known[uid]

    async def _snapshot(self, status: JSON) -> JSON:
        name = status.get("batchSnapshot")
        if not name:
            return {}
        try:
            revision = await self._session.client.get(
                CONTROLLERREVISIONS, self._session.namespace, name
            )
        except ClientError:
            return {}
        data = revision.get("data")
        return data if isinstance(data, dict) else {}
