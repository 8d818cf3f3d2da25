"""The Lease on which candidates agree, read and written with optimistic concurrency."""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kubetask_controller.client.errors import APIStatusError, TransportError, is_not_found
from kubetask_controller.client.resources import LEASES
from kubetask_controller.client.rest import Client

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
WATCH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class LeaderElectionRecord:
    """Who leads, as the Lease says.

    Attributes:
        holder: identity of the leader; empty for a Lease that was released.
        lease_duration: seconds that the holder claims from each renewal on.
        acquire_time: when the holder became it; MicroTime.
        renew_time: its last renewal; MicroTime. Other clocks wrote it, so it is never compared with ours.
        transitions: how often the holder changed.
    """

    holder: str
    lease_duration: int
    acquire_time: str
    renew_time: str
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """A Lease as it was read or written.

    Attributes:
        record: what it says.
        raw: the object, for the next update.
    """

    record: LeaderElectionRecord
    raw: dict[str, Any]


class LeaseLock:
    """One Lease; see the module."""

    def __init__(self, client: Client, namespace: str, name: str, *, timeout: float) -> None:
        """`timeout` in seconds for each request, so that a hung one does not use up the renewal's time."""
        self._client = client
        self.namespace = namespace
        self.name = name
        self._timeout = timeout

    async def get(self) -> Observed | None:
        """The Lease as it is now, None where there is none.

        Raises:
            ClientError: it could not be read.
        """
        try:
            raw = await self._client.get(LEASES, self.namespace, self.name, timeout=self._timeout)
        except APIStatusError as error:
            if is_not_found(error):
                return None
            raise
        return _observed(raw)

    async def create(self, record: LeaderElectionRecord) -> Observed:
        """Make the Lease.

        Raises:
            ClientError: somebody else has made it, or there was no answer.
        """
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": _spec(record),
        }
        raw = await self._client.create(LEASES, self.namespace, body, timeout=self._timeout)
        return _observed(raw)

    async def update(self, seen: Observed, record: LeaderElectionRecord) -> Observed:
        """Write the record over the Lease that was seen.

        Raises:
            ClientError: it has changed since (a conflict), or there was no answer.
        """
        body = {**seen.raw, "spec": {**seen.raw.get("spec", {}), **_spec(record)}}
        raw = await self._client.update(
            LEASES, self.namespace, self.name, body, timeout=self._timeout
        )
        return _observed(raw)

    async def wait_released(self) -> None:
        """Return once the Lease is there and has no holder.

        Raises:
            ClientError: it cannot be watched (any more).
        """
        params = {"fieldSelector": f"metadata.name={self.name}"}
        watch = self._client.watch(
            LEASES, self.namespace, params=params, timeout_seconds=WATCH_SECONDS
        )
        async with watch as events:
            async for event in events:
                if (
                    event["type"] in ("ADDED", "MODIFIED")
                    and not _observed(event["object"]).record.holder
                ):
                    return
        raise TransportError("the watch of the Lease has ended")


def new_record(holder: str, lease_duration: float, now: datetime) -> LeaderElectionRecord:
    """The record of a candidate that takes the Lease now; the API knows whole seconds only."""
    moment = now.strftime(_TIME)
    return LeaderElectionRecord(holder, max(1, math.ceil(lease_duration)), moment, moment)


def released(record: LeaderElectionRecord, now: datetime) -> LeaderElectionRecord:
    """The record of a holder that gives up: anybody may take it at once."""
    moment = now.strftime(_TIME)
    return replace(record, holder="", lease_duration=1, acquire_time=moment, renew_time=moment)


def _spec(record: LeaderElectionRecord) -> dict[str, Any]:
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.lease_duration,
        "acquireTime": record.acquire_time,
        "renewTime": record.renew_time,
        "leaseTransitions": record.transitions,
    }


def _observed(raw: dict[str, Any]) -> Observed:
    spec = raw.get("spec") or {}
    record = LeaderElectionRecord(
        holder=spec.get("holderIdentity") or "",
        lease_duration=spec.get("leaseDurationSeconds") or 0,
        acquire_time=spec.get("acquireTime") or "",
        renew_time=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )
    return Observed(record, raw)
