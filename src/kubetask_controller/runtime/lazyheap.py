"""A heap whose members may change their place, or leave, without being searched for.

A member carries the token of its newest place; places with an older token are skipped when they
come up, and swept out before they are the larger part. So a key that is delayed for an hour again
and again does not leave a trail an hour long.
"""

import heapq
from typing import Generic, Protocol, TypeVar

_SWEEP_FROM = 64


class Member(Protocol):
    """What a heap keeps; a token of 0 means that it stands in none."""

    token: int


M = TypeVar("M", bound=Member)


class LazyHeap(Generic[M]):
    """Members by a key, smallest first; of equal keys the one that was pushed first."""

    def __init__(self) -> None:
        self._places: list[tuple[float, int, M]] = []
        self._sweep_at = _SWEEP_FROM

    def push(self, key: float, member: M, *, token: int) -> None:
        """Give the member its newest place; tokens must grow, across all heaps that share it."""
        member.token = token
        heapq.heappush(self._places, (key, token, member))
        if len(self._places) > self._sweep_at:
            self._places = [place for place in self._places if place[2].token == place[1]]
            heapq.heapify(self._places)
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._places))

    def first_key(self) -> float | None:
        """The smallest key."""
        while self._places:
            key, token, member = self._places[0]
            if member.token == token:
                return key
            heapq.heappop(self._places)
        return None

    def pop(self) -> M | None:
        """Take out the member with the smallest key."""
        while self._places:
            _, token, member = heapq.heappop(self._places)
            if member.token == token:
                member.token = 0
                return member
        return None

    def clear(self) -> None:
        """Forget all members."""
        self._places.clear()
