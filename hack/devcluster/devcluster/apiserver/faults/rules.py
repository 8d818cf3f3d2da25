"""Rules of fault injection, decoded from JSON and decided from a seed.

A rule draws from its own random numbers, which its seed alone determines: the n-th request that a rule matches gets the same
fault in every run, independent of other rules.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    """Kinds of faults."""

    LATENCY = "latency"
    """A request waits `seconds` before it is carried out."""
    LOST_RESPONSE = "lost-response"
    """A request is carried out; the connection is cut before the answer."""
    CONFLICT = "conflict"
    """409 Conflict instead of the write."""
    TOO_MANY_REQUESTS = "too-many-requests"
    """429 with `Retry-After: <retryAfter>`, as API priority and fairness answers."""
    SERVER_ERROR = "server-error"
    """`code` (500 to 599) instead of the request, or after it with `carriedOut`."""
    REFUSED = "refused"
    """The connection is cut, nothing is carried out."""
    CLOSED_WATCH = "closed-watch"
    """A watch ends after `seconds`; `mode` "end": in order, "cut": its connection is cut."""
    SILENT_WATCH = "silent-watch"
    """A watch stays open and nothing arrives, until the rule is removed."""
    LAGGING_WATCH = "lagging-watch"
    """Each event arrives `seconds` late."""
    PARTITION = "partition"
    """The network between the server and those who match is gone; `mode` "hang" or "refuse"."""


WATCH_KINDS = frozenset(
    {FaultKind.CLOSED_WATCH, FaultKind.SILENT_WATCH, FaultKind.LAGGING_WATCH, FaultKind.PARTITION}
)
"""Kinds that apply to watches: to open ones and to new ones."""
ANSWER_KINDS = frozenset({FaultKind.LOST_RESPONSE})
"""Kinds that wait for the answer."""
MODES = {FaultKind.CLOSED_WATCH: ("end", "cut"), FaultKind.PARTITION: ("hang", "refuse")}


class BadRuleError(ValueError):
    """An invalid rule; the message names the reason."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A request as rules see it. `resource` is like `jobs.batch`, or `pods`; '' outside of resources."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    user_agent: str

    @property
    def resources(self) -> tuple[str, str]:
        """The names of the resource that a rule may use: `jobs.batch/status` and `jobs/status`."""
        tail = f"/{self.subresource}" if self.subresource else ""
        return self.resource + tail, self.resource.partition(".")[0] + tail


@dataclass(frozen=True, slots=True)
class Match:
    """The requests that a rule matches. Each is a list of patterns (`*`, `?`, `[…]`); an empty one matches all."""

    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    user_agents: tuple[str, ...] = ()

    def matches(self, subject: Subject) -> bool:
        """Whether a request matches."""
        return (
            _any(self.verbs, subject.verb)
            and _any(self.resources, *subject.resources)
            and _any(self.namespaces, subject.namespace)
            and _any(self.names, subject.name)
            and _any(self.users, subject.user)
            and _any(self.user_agents, subject.user_agent)
        )


def _any(patterns: tuple[str, ...], *values: str) -> bool:
    return not patterns or any(
        fnmatchcase(value, pattern) for pattern in patterns for value in values
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters of a rule; `FaultKind` documents which field applies to which kind.

    It applies to each request that matches with `probability`, not the first `skip` of them, `count` times at most.
    """

    probability: float = 1.0
    count: int | None = None
    skip: int = 0
    seconds: float = 0.0
    code: int = 500
    retry_after: int = 1
    message: str = ""
    mode: str = ""
    carried_out: bool = False


class FaultRule:
    """One rule, and how often it matched and injected a fault. `removed` is set when the rule is removed."""

    def __init__(
        self, kind: FaultKind, match: Match, settings: Settings, *, id_: int, seed: str
    ) -> None:
        self.kind = kind
        self.match = match
        self.settings = settings
        self.id = id_
        self.matched = 0
        self.injected = 0
        self.removed = asyncio.Event()
        self._random = random.Random(seed)

    def applies(self, subject: Subject) -> bool:
        """Decide about one request, and count it."""
        if not self.match.matches(subject):
            return False
        self.matched += 1
        settings = self.settings
        if self.matched <= settings.skip:
            return False
        if settings.count is not None and self.injected >= settings.count:
            return False
        if settings.probability < 1.0 and self._random.random() >= settings.probability:
            return False
        self.injected += 1
        return True

    def encode(self) -> dict[str, Any]:
        """Its JSON form."""
        shown: dict[str, Any] = {"id": self.id, "kind": self.kind.value}
        for part in (self.match, self.settings):
            for each in fields(part):
                value = getattr(part, each.name)
                if value != each.default:
                    shown[camel(each.name)] = list(value) if isinstance(value, tuple) else value
        return {**shown, "matched": self.matched, "injected": self.injected}


def decode(raw: Mapping[str, Any], *, id_: int, seed: str) -> FaultRule:
    """A rule from its JSON form. Raises BadRuleError."""
    rest = dict(raw)
    try:
        kind = FaultKind(rest.pop("kind", ""))
    except ValueError:
        raise BadRuleError(f"kind: must be one of {', '.join(FaultKind)}") from None
    match = Match(**{each.name: _patterns(rest, each.name) for each in fields(Match)})
    given = {
        each.name: rest.pop(camel(each.name))
        for each in fields(Settings)
        if camel(each.name) in rest
    }
    if rest:
        raise BadRuleError(f"unknown fields: {', '.join(sorted(rest))}")
    if kind in MODES:
        given.setdefault("mode", MODES[kind][0])
    settings = Settings(**given)
    _check(kind, settings)
    return FaultRule(kind, match, settings, id_=id_, seed=seed)


def _patterns(rest: dict[str, Any], name: str) -> tuple[str, ...]:
    value = rest.pop(camel(name), [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadRuleError(f"{camel(name)}: must be a list of strings")
    return tuple(value)


def _check(kind: FaultKind, settings: Settings) -> None:
    for name, lowest, highest in (
        ("probability", 0, 1),
        ("skip", 0, math.inf),
        ("count", 0, math.inf),
        ("seconds", 0, math.inf),
        ("code", 500, 599),
        ("retry_after", 0, math.inf),
    ):
        value = getattr(settings, name)
        whole = name not in ("probability", "seconds")
        if value is None and name == "count":
            continue
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise BadRuleError(f"{camel(name)}: must be a number")
        if not lowest <= value <= highest:
            raise BadRuleError(f"{camel(name)}: must be between {lowest} and {highest}")
    if not isinstance(settings.message, str) or not isinstance(settings.carried_out, bool):
        raise BadRuleError("message must be a string, carriedOut a boolean")
    if settings.mode not in MODES.get(kind, ("",)):
        raise BadRuleError(f"mode: must be one of {', '.join(MODES.get(kind, ())) or 'none'}")


def camel(name: str) -> str:
    """`user_agents` → `userAgents`."""
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)
