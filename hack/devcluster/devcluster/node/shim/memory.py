"""A container's memory limit, kept by watching: when all have too much, the process that has most is killed.

It counts memory that a memory cgroup could not reclaim: each process's share of anonymous and shared memory.
Memory that is allocated and freed between two samples is not counted.
"""

from __future__ import annotations

import os
import signal

LOOK_SECONDS = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryLimit:
    """Watches the process `pid` and its descendants. `limit` in bytes."""

    def __init__(self, pid: int, limit: int) -> None:
        self._pid = pid
        self._limit = limit
        self.exceeded = False

    def look(self) -> None:
        """Compare, and kill if need be; sets `exceeded`."""
        processes = _tree(self._pid)
        if sum(_resident(pid) for pid in processes) <= self._limit:
            return
        shares = {pid: _own(pid) for pid in processes}
        if sum(shares.values()) <= self._limit:
            return
        victim = max(shares, key=lambda pid: shares[pid])
        self.exceeded = True
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return


def _tree(pid: int) -> list[int]:
    """A process and its descendants. Orphans become children of the container's first process, so all are found."""
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        try:
            for thread in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{thread}/children", encoding="utf-8") as file:
                    waiting += [int(child) for child in file.read().split()]
        except OSError:
            continue  # it has ended meanwhile
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _own(pid: int) -> int:
    """A process's share of anonymous and shared memory, in bytes."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total
