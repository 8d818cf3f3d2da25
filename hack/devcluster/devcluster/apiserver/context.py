"""Options of a write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .interfaces import User

SYSTEM_USER = User("system:apiserver", groups=("system:masters",))


@dataclass(slots=True)
class WriteContext:
    """Options of one request. `warnings` collects the texts of the answer's Warning headers.

    `manager` is the field manager for managedFields; `field_validation` is Ignore, Warn or Strict.
    """

    user: User = SYSTEM_USER
    manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """meta/v1 DeleteOptions, decoded. `propagation` None means the resource's default."""

    uid: str | None = None
    resource_version: str | None = None
    propagation: str | None = None
    grace_period_seconds: int | None = None

    @classmethod
    def decode(cls, body: dict[str, Any] | None, query: dict[str, str]) -> DeleteOptions:
        """From a request's body and query; the body's fields win."""
        body = body or {}
        preconditions = body.get("preconditions") or {}
        propagation = body.get("propagationPolicy") or query.get("propagationPolicy")
        orphan = body.get("orphanDependents", query.get("orphanDependents"))
        if propagation is None and orphan is not None:
            propagation = "Orphan" if orphan in (True, "true") else "Background"
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        return cls(
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            propagation=propagation,
            grace_period_seconds=int(grace) if grace is not None else None,
        )
