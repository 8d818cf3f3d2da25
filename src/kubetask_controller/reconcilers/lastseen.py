"""The last views of Jobs and Pods that are gone, until somebody has taken note of their end."""

from dataclasses import dataclass, field

from kubetask_controller.reconcilers.projections import JobView, PodView


@dataclass(slots=True)
class _Gone:
    """What an owner has lost: Jobs by name, Pods by the uid of their Job."""

    jobs: dict[str, JobView] = field(default_factory=dict)
    pods: dict[str, dict[str, PodView]] = field(default_factory=dict)


class LastSeen:
    """What the cache has lost and the reconciler has not looked at yet.

    A Job may be deleted in the same second in which it finished; the cache then shows neither. Everything is kept by the
    uid of the BatchRun or Task that owns the Job, and forgotten with it.
    """

    def __init__(self) -> None:
        self._gone: dict[str, _Gone] = {}

    def job_gone(self, job: JobView) -> None:
        """The cache lost a Job that an owner controls."""
        if job.owner:
            self._gone.setdefault(job.owner.uid, _Gone()).jobs[job.name] = job

    def pod_gone(self, owner_uid: str, pod: PodView) -> None:
        """The cache lost a Pod of a Job of that owner."""
        if pod.owner:
            pods = self._gone.setdefault(owner_uid, _Gone()).pods
            pods.setdefault(pod.owner.uid, {})[pod.uid] = pod

    def owner_of_job(self, job_uid: str) -> str | None:
        """The uid of the owner of a Job that is gone."""
        for owner_uid, gone in self._gone.items():
            if any(x.uid == job_uid for x in gone.jobs.values()):
                return owner_uid
        return None

    def job(self, owner_uid: str, name: str) -> JobView | None:
        """The last view of a Job that is gone."""
        gone = self._gone.get(owner_uid)
        return gone.jobs.get(name) if gone else None

    def pods(self, owner_uid: str, job_uid: str) -> tuple[PodView, ...]:
        """The last views of a Job's Pods that are gone."""
        gone = self._gone.get(owner_uid)
        return tuple(gone.pods.get(job_uid, {}).values()) if gone else ()

    def forget_owner(self, owner_uid: str) -> None:
        """The owner is gone or has ended."""
        self._gone.pop(owner_uid, None)

    def __len__(self) -> int:
        """Owners of which something is kept."""
        return len(self._gone)
