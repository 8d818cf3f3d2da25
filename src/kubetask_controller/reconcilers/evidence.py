"""What only Events tell, read when something has waited too long or a record may be missing.

Events are best effort and live for an hour, so nothing is decided on their absence alone but this: a Job of which
neither the cache nor the status knows, and of which no Event says that it had a Pod, has not run.
"""

from collections.abc import Collection
from typing import Any

from kubetask_controller.client.resources import CORE_EVENTS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.projections import JobView, PodView
from kubetask_controller.reconcilers.times import parse_time
from kubetask_controller.reconcilers.waiting import Waiting, from_event
from kubetask_controller.runtime.clock import Clock

PATIENCE = 5.0
"""Seconds that a Job or Pod may say nothing before its Events are read; most are running by then."""

REFRESH = 15.0
"""Seconds for which an answer is taken as still true."""

_PAGE = "500"


class Evidence:
    """Reads Events of Jobs and Pods, and remembers the answers for a while."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: dict[str, tuple[float, Waiting | None]] = {}

    async def waiting(self, job: JobView, pod: PodView | None) -> Waiting | None:
        """Why the Job has no Pod, or why its Pod does not start; None where no Event explains it."""
        now = self._clock.monotonic()
        uid = pod.uid if pod else job.uid
        known = self._answers.get(uid)
        if known and now - known[0] < REFRESH:
            return known[1]
        answer = await self._read(job.namespace, uid)
        self._answers[uid] = (now, answer)
        if len(self._answers) > 1024:
            self._answers = {k: v for k, v in self._answers.items() if now - v[0] < REFRESH}
        return answer

    async def jobs_that_had_pods(
        self, namespace: str, names: Collection[str], since: str
    ) -> set[str]:
        """Which of the named Jobs had a Pod since the given time, whether or not they are still there."""
        found: set[str] = set()
        params = {
            "fieldSelector": "involvedObject.kind=Job,reason=SuccessfulCreate",
            "limit": _PAGE,
        }
        while True:
            page = await self._client.list(CORE_EVENTS, namespace, params=params)
            for event in page.get("items") or ():
                name = event["involvedObject"].get("name", "")
                if name in names and not _before(event, since):
                    found.add(name)
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            params["continue"] = token

    async def _read(self, namespace: str, uid: str) -> Waiting | None:
        params = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": _PAGE}
        page = await self._client.list(CORE_EVENTS, namespace, params=params)
        for event in sorted(page.get("items") or (), key=_last_seen, reverse=True):
            found = from_event(event.get("reason", ""), event.get("message", ""))
            if found:
                return found
        return None


def _last_seen(event: dict[str, Any]) -> str:
    metadata = event["metadata"]
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or metadata.get("creationTimestamp")
        or ""
    )


def _before(event: dict[str, Any], since: str) -> bool:
    moment = _last_seen(event)
    return bool(moment and since) and parse_time(moment) < parse_time(since)
