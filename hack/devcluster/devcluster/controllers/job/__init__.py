"""The Job controller: as pkg/controller/job writes Jobs and their Pods."""

from .controller import JobController, JobSettings

__all__ = ["JobController", "JobSettings"]
