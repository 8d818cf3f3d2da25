"""Which tasks of a run something was heard of since it was last looked at.

A run of thousands is looked at about once a second, and most of its tasks have not changed in between. The marks save the
look at those, and nothing else: a run that is not followed yet is looked at whole.
"""

from kubetask_controller.reconcilers.projections import JobView


class Touched:
    """Marks by the uid of the run, for runs that somebody follows."""

    def __init__(self) -> None:
        self._marks: dict[str, set[int]] = {}

    def follow(self, run_uid: str) -> set[int]:
        """Begin to mark; the indexes marked so far. The set is the caller's to clear once it has looked."""
        return self._marks.setdefault(run_uid, set())

    def forget(self, run_uid: str) -> None:
        """The run is gone or has ended."""
        self._marks.pop(run_uid, None)

    def mark(self, job: JobView) -> None:
        """The Job, or a Pod of it, has changed."""
        if job.owner is not None and job.index is not None:
            marks = self._marks.get(job.owner.uid)
            if marks is not None:
                marks.add(job.index)
