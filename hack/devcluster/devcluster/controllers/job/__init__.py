"""The Job controller: as pkg/controller/job writes Jobs and their Pods."""

from .controller import JobController

__all__ = ["JobController"]
