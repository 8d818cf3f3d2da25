"""Faults on demand, for tests: blocking calls to the admin endpoint of a development cluster.

with cluster.faults.inject("lost-response", verbs=["create"], resources=["jobs"], count=3) as fault:
    ...
    fault.wait_injected(3)
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .connection import ApiError, Connection

PATH = "/devcluster/faults"
BACK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A rule that is at work. As a context manager it is removed at the end."""

    control: FaultControl
    id: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    @property
    def injected(self) -> int:
        """The number of times it was applied. Raises KeyError when it was deleted."""
        rules = {rule["id"]: rule for rule in self.control.status()["rules"]}
        return int(rules[self.id]["injected"])

    def wait_injected(self, times: int = 1, *, timeout: float = 30.0) -> None:
        """Return once it has struck that often. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while (so_far := self.injected) < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the fault struck {so_far} times of {times}")
            time.sleep(0.02)

    def remove(self) -> None:
        """Take it back, if it is still there."""
        self.control.remove(self.id)


class FaultControl:
    """`cluster.faults`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def inject(self, kind: str, **settings: Any) -> InjectedFault:
        """Add a rule; fields as in the README, in snake_case. Raises ApiError 400 for an invalid one."""
        body = {_camel(name): value for name, value in settings.items()}
        made = self._connection.post(PATH, {"kind": kind, **body})
        return InjectedFault(self, made["id"])

    def partition(self, *, user: str, mode: str = "hang") -> InjectedFault:
        """Cut a user off, open watches too; `remove` heals it. `mode`: requests "hang", or are cut ("refuse")."""
        return self.inject("partition", users=[user], mode=mode)

    def remove(self, id_: int) -> None:
        """Take one rule back."""
        self._connection.delete(f"{PATH}?id={id_}")

    def clear(self) -> None:
        """Take every rule back. Steps of the clock stay."""
        self._connection.delete(PATH)

    def status(self) -> dict[str, Any]:
        """`seed`, `rules` with what they did, `injected` by kind since the start, `clockOffset`, `watches`."""
        shown: dict[str, Any] = self._connection.get(PATH)
        return shown

    def compact(self) -> int:
        """Compact the whole history. Returns the oldest resourceVersion from which a watch may start."""
        return int(self._connection.post(PATH, {"kind": "compact"})["compactedRevision"])

    def step_clock(self, seconds: float) -> float:
        """Put the server's wall clock forward, or back. Returns by how much it is off in all."""
        made = self._connection.post(PATH, {"kind": "step-clock", "seconds": seconds})
        return float(made["clockOffset"])

    def restart(
        self, *, down_seconds: float = 1.0, lose_history: bool = True, wait: bool = True
    ) -> None:
        """Cut every connection, refuse new ones for a while; without history old resourceVersions are answered with 410.

        A real server always begins with an empty watch cache. With `wait` it returns once the server is back.
        """
        before = self.status()["injected"].get("restart", 0)
        self._connection.post(
            PATH, {"kind": "restart", "downSeconds": down_seconds, "loseHistory": lose_history}
        )
        if wait:
            with warnings.catch_warnings():
                # Where the connection is cut between connect and handshake, Python's ssl module does not close its socket.
                warnings.simplefilter("ignore", ResourceWarning)
                self._await_restart(before, time.monotonic() + down_seconds + BACK_SECONDS)

    def _await_restart(self, before: int, deadline: float) -> None:
        while True:
            try:
                if self.status()["injected"].get("restart", 0) > before:
                    return
            except (OSError, ApiError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)
