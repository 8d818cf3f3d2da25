"""Back-off before a Job replaces failed Pods, as pkg/controller/job/backoff_utils.go. Pure functions and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import pods as podlib

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds before the first replacement, doubled for each failure since the last success, and the most it gets."""

    first: float = 10.0
    most: float = 600.0

    def after(self, failures: int) -> float:
        """The delay after so many failures."""
        if failures == 0:
            return 0.0
        return min(self.first * 2.0 ** min(failures - 1, 60), self.most)


@dataclass(frozen=True, slots=True)
class Record:
    """Failures since the last success, and when the last of them ended (Unix time)."""

    failures: int = 0
    last: float = 0.0

    def after(self, succeeded: list[Object], failed: list[Object]) -> Record:
        """The record with Pods that ended newly."""
        times = sorted(podlib.finish_time(pod) for pod in failed)
        if succeeded:
            success = max(podlib.finish_time(pod) for pod in succeeded)
            later = [each for each in times if each > success]
            return Record(len(later), later[-1] if later else 0.0)
        if not times:
            return self
        return Record(self.failures + len(times), times[-1])

    def remaining(self, delays: Delays, now: float) -> float:
        """Seconds until a Pod may be created."""
        if self.failures == 0:
            return 0.0
        return max(0.0, delays.after(self.failures) - (now - self.last))
