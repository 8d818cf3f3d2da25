"""When Events are read: only for Jobs and Pods that have waited too long without saying why themselves."""

from collections.abc import Iterable

from kubetask_controller.reconcilers.context import Shared
from kubetask_controller.reconcilers.evidence import PATIENCE, REFRESH
from kubetask_controller.reconcilers.projections import JobView, PodView
from kubetask_controller.reconcilers.times import seconds_since
from kubetask_controller.reconcilers.waiting import Waiting, tells_itself

MAX_LOOKUPS = 5
"""Lookups of one reconcile: tasks of a run that wait mostly wait for the same thing."""


async def explain(shared: Shared, jobs: Iterable[JobView]) -> tuple[dict[str, Waiting], float]:
    """What Events say of these Jobs, by the Job's uid, and the seconds until it is worth asking again (0: never)."""
    told: dict[str, Waiting] = {}
    wake = 0.0
    asked = 0
    for job in jobs:
        pods = list(shared.views.pods_of(job.uid))
        pod = max(pods, key=lambda x: (x.created, x.name), default=None)
        if not _silent(job, pod):
            continue
        silence = seconds_since(pod.created if pod else job.started or job.created, shared.now())
        left = PATIENCE - silence
        if left > 0:
            wake = min(wake, left) if wake else left
            continue
        wake = min(wake, REFRESH) if wake else REFRESH
        if asked < MAX_LOOKUPS:
            asked += 1
            answer = await shared.evidence.waiting(job, pod)
            if answer:
                told[job.uid] = answer
    return told, wake


def _silent(job: JobView, pod: PodView | None) -> bool:
    if job.finished or job.deleting or job.suspended:
        return False
    if pod is not None and (pod.started_at or pod.terminal):
        return False
    return not tells_itself(job, pod)
