"""The last views of Jobs and Pods that are gone, until somebody has taken note of their end."""

from kubetask_controller.reconcilers.projections import JobView, PodView


class LastSeen:
    """What the cache has lost and the reconciler has not looked at yet.

    A Job may be deleted in the same second in which it finished; the cache then shows neither. Views are kept by
    the uid of their owner: a Job's by its run or Task, a Pod's by its Job.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, JobView]] = {}
        self._pods: dict[str, dict[str, PodView]] = {}

    def job_gone(self, job: JobView) -> None:
        """The cache lost a Job."""
        if job.owner:
            self._jobs.setdefault(job.owner.uid, {})[job.name] = job

    def pod_gone(self, pod: PodView) -> None:
        """The cache lost a Pod."""
        if pod.owner:
            self._pods.setdefault(pod.owner.uid, {})[pod.uid] = pod

    def job(self, owner_uid: str, name: str) -> JobView | None:
        """The last view of a Job that is gone."""
        return self._jobs.get(owner_uid, {}).get(name)

    def pods(self, job_uid: str) -> tuple[PodView, ...]:
        """The last views of a Job's Pods that are gone."""
        return tuple(self._pods.get(job_uid, {}).values())

    def forget_job(self, owner_uid: str, name: str, job_uid: str = "") -> None:
        """Its end is recorded."""
        views = self._jobs.get(owner_uid)
        if views:
            views.pop(name, None)
            if not views:
                del self._jobs[owner_uid]
        self._pods.pop(job_uid, None)

    def forget_owner(self, owner_uid: str) -> None:
        """The run or Task is gone or final."""
        for view in self._jobs.pop(owner_uid, {}).values():
            self._pods.pop(view.uid, None)
