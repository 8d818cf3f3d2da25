"""What tasks work on, for a run so large that its status no longer tells.

The run's own batchSpec has it, else the ControllerRevision of its snapshot. Somebody who may not
read that sees indexes alone; nothing else depends on it.
"""

from collections.abc import Mapping

from kubetask_controller.api.constants import Omitted
from kubetask_controller.cli.runview import target_of
from kubetask_controller.cli.session import Session
from kubetask_controller.client import ClientError
from kubetask_controller.client.resources import CONTROLLERREVISIONS
from kubetask_controller.jsontypes import JSON


class Targets:
    """Looks targets up, once a run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Mapping[int, str]] = {}

    async def of(self, run: JSON) -> Mapping[int, str]:
        """Index → target; empty where the status tells by itself, or nobody does."""
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
