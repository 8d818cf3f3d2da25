"""The server's side of faults: rules for requests and watches, and faults of the whole server.

Faults apply to HTTP requests only, so they do not affect the in-process controllers and the node. The admin endpoint itself
never fails and accepts system:masters only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from devcluster.apiserver.errors import StatusError, bad_request, conflict, forbidden
from devcluster.storage import Storage

from .gates import WatchGate, cut_connection
from .rules import ANSWER_KINDS, WATCH_KINDS, BadRuleError, FaultKind, FaultRule, Subject, decode

if TYPE_CHECKING:
    from devcluster.apiserver.interfaces import User
    from devcluster.apiserver.paths import RequestInfo

FAULTS_PATH = "/devcluster/faults"
MASTERS = "system:masters"
MAX_DOWN_SECONDS = 3600.0


class Listener(Protocol):
    """The listener that accepts connections."""

    async def down(self) -> None:
        """Refuse connections from now on and cut those that are open."""

    async def up(self) -> None:
        """Accept connections again, on the same port."""


class Faults:
    """Faults on demand. Without rules a request costs one extra check. `seed` None selects a random one, shown by GET."""

    def __init__(self, storage: Storage, *, seed: int | None = None) -> None:
        self.storage = storage
        self.seed = secrets.randbelow(2**32) if seed is None else seed
        self.listener: Listener | None = None
        self.is_down = False
        self.clock_offset = 0.0
        self.injected: Counter[str] = Counter()
        self._rules: dict[int, FaultRule] = {}
        self._made = 0
        self._gates: dict[WatchGate, None] = {}
        self._restart: asyncio.Task[None] | None = None
        clock = storage.clock
        storage.clock = lambda: clock() + self.clock_offset

    # --- faults of requests

    async def before(
        self, request: web.Request, user: User, info: RequestInfo
    ) -> web.StreamResponse | None:
        """Apply faults before a request is executed; returns an answer in its place, or None. Raises StatusError."""
        if self.is_down:
            return _cut(request)
        if not self._rules or info.path == FAULTS_PATH:
            return None
        subject = _subject(request, user, info)
        for rule in list(self._rules.values()):
            if (
                rule.kind in ANSWER_KINDS
                or rule.settings.carried_out
                or not self._affects_requests(rule)
            ):
                continue
            if self._applies(rule, subject):
                answer = await self._strike(rule, request, info)
                if answer is not None:
                    return answer
        return None

    async def after(
        self,
        request: web.Request,
        user: User,
        info: RequestInfo,
        response: web.StreamResponse,
    ) -> web.StreamResponse:
        """Apply faults to an answer. Raises StatusError."""
        if self.is_down:
            return _cut(request)
        if not self._rules or info.path == FAULTS_PATH or info.verb == "watch":
            return response
        subject = _subject(request, user, info)
        for rule in list(self._rules.values()):
            late = rule.kind in ANSWER_KINDS or rule.settings.carried_out
            partition = rule.kind is FaultKind.PARTITION
            if (late or partition) and self._applies(rule, subject):
                if rule.kind is FaultKind.LOST_RESPONSE:
                    return _cut(request)
                answer = await self._strike(rule, request, info)
                if answer is not None:
                    return answer
        return response

    @staticmethod
    def _affects_requests(rule: FaultRule) -> bool:
        return rule.kind not in WATCH_KINDS or rule.kind is FaultKind.PARTITION

    def _applies(self, rule: FaultRule, subject: Subject) -> bool:
        applies = rule.applies(subject)
        if applies:
            self.injected[rule.kind] += 1
        return applies

    async def _strike(
        self, rule: FaultRule, request: web.Request, info: RequestInfo
    ) -> web.StreamResponse | None:
        settings = rule.settings
        match rule.kind:
            case FaultKind.LATENCY:
                await asyncio.sleep(settings.seconds)
            case FaultKind.PARTITION if settings.mode == "hang":
                await rule.removed.wait()
            case FaultKind.PARTITION | FaultKind.REFUSED:
                return _cut(request)
            case FaultKind.CONFLICT:
                raise conflict(info.group, info.resource, info.name)
            case FaultKind.TOO_MANY_REQUESTS:
                # As tooManyRequests of k8s.io/apiserver answers: no Status.
                return web.Response(
                    status=429,
                    text="Too many requests, please try again later.\n",
                    headers={"Retry-After": str(settings.retry_after)},
                )
            case FaultKind.SERVER_ERROR:
                raise _server_error(settings.code, settings.message)
        return None

    # --- faults of watches

    def watch_opened(self, request: web.Request, user: User, info: RequestInfo) -> WatchGate:
        """The gate of a watch that begins; pass it to `watch_closed` at the end of the watch."""
        gate = WatchGate(request, _subject(request, user, info))
        self._gates[gate] = None
        for rule in self._rules.values():
            self._offer(rule, gate)
        return gate

    def watch_closed(self, gate: WatchGate) -> None:
        """A watch has ended."""
        gate.close()
        self._gates.pop(gate, None)

    def _offer(self, rule: FaultRule, gate: WatchGate) -> None:
        if rule.kind in WATCH_KINDS and self._applies(rule, gate.subject):
            gate.add(rule)

    # --- rules

    def inject(self, raw: Mapping[str, Any]) -> FaultRule:
        """Add a rule. Raises BadRuleError."""
        rule = decode(raw, id_=self._made + 1, seed=f"{self.seed}/{self._made + 1}")
        self._made += 1
        self._rules[rule.id] = rule
        for gate in list(self._gates):
            self._offer(rule, gate)
        return rule

    def remove(self, id_: int) -> FaultRule | None:
        """Remove a rule and release the requests and events that it held. Returns the rule, or None if there is none."""
        rule = self._rules.pop(id_, None)
        if rule is not None:
            rule.removed.set()
            for gate in self._gates:
                gate.remove(rule)
        return rule

    def clear(self) -> None:
        """Remove every rule."""
        for id_ in list(self._rules):
            self.remove(id_)

    # --- faults of the server

    def compact(self) -> int:
        """Compact the whole history; returns the oldest resourceVersion that still works."""
        self.injected["compact"] += 1
        for gate in self._gates:
            gate.compact()
        return self.storage.compact()

    def step_clock(self, seconds: float) -> float:
        """Move the wall clock forward (or back); returns the total offset."""
        self.injected["step-clock"] += 1
        self.clock_offset += seconds
        return self.clock_offset

    async def restart(self, *, down_seconds: float, lose_history: bool) -> None:
        """Stop answering, cut every connection and restart. Objects stay, because etcd stores them."""
        assert self.listener is not None, "the server has no listener"
        self.injected["restart"] += 1
        self.is_down = True
        try:
            await self.listener.down()
            if lose_history:
                self.storage.compact()
            await asyncio.sleep(down_seconds)
        finally:
            self.is_down = False
            await self.listener.up()

    async def stop(self) -> None:
        """End the faults that are active."""
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)

    # --- the endpoint

    async def admin(self, request: web.Request, user: User) -> web.StreamResponse:
        """GET returns the rules and state, POST applies a fault, DELETE removes rules. Raises StatusError."""
        if MASTERS not in user.groups:
            raise forbidden("", "faults", "", f"only {MASTERS} may inject faults")
        if request.method == "GET":
            return web.json_response(self._shown())
        if request.method == "DELETE":
            return self._admin_delete(request)
        if request.method != "POST":
            raise StatusError(405, "MethodNotAllowed", "GET, POST or DELETE", details={})
        return await self._admin_post(request)

    def _shown(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "rules": [rule.encode() for rule in self._rules.values()],
            "injected": dict(self.injected),
            "clockOffset": self.clock_offset,
            "watches": len(self._gates),
        }

    def _admin_delete(self, request: web.Request) -> web.Response:
        wanted = request.query.get("id")
        if wanted is None:
            self.clear()
        elif not wanted.isdigit() or self.remove(int(wanted)) is None:
            raise StatusError(404, "NotFound", f'fault "{wanted}" not found', details={})
        return web.json_response(self._shown())

    async def _admin_post(self, request: web.Request) -> web.StreamResponse:
        try:
            raw = await request.json()
        except ValueError as error:
            raise bad_request(str(error)) from None
        if not isinstance(raw, dict):
            raise bad_request("a fault is a JSON object")
        match raw.get("kind"):
            case "compact":
                return web.json_response({"compactedRevision": self.compact()})
            case "step-clock":
                return web.json_response({"clockOffset": self.step_clock(_number(raw, "seconds"))})
            case "restart":
                return await self._admin_restart(request, raw)
        try:
            return web.json_response(self.inject(raw).encode(), status=201)
        except BadRuleError as error:
            raise bad_request(str(error)) from None

    async def _admin_restart(
        self, request: web.Request, raw: Mapping[str, Any]
    ) -> web.StreamResponse:
        if self._restart is not None and not self._restart.done():
            raise conflict("", "faults", "restart", "a restart is under way")
        seconds = _number(raw, "downSeconds", highest=MAX_DOWN_SECONDS)
        lose = raw.get("loseHistory", True)
        # Send the answer first: the next step cuts this connection.
        response = web.json_response({"downSeconds": seconds}, headers={"Connection": "close"})
        await response.prepare(request)
        await response.write_eof()
        self._restart = asyncio.create_task(
            self.restart(down_seconds=seconds, lose_history=bool(lose))
        )
        return response


def _subject(request: web.Request, user: User, info: RequestInfo) -> Subject:
    resource = f"{info.resource}.{info.group}" if info.group else info.resource
    return Subject(
        info.verb,
        resource,
        info.subresource,
        info.namespace,
        info.name,
        user.name,
        request.headers.get("User-Agent", ""),
    )


def _cut(request: web.Request) -> web.Response:
    """Cut the connection; aiohttp requires an answer, which is never sent."""
    cut_connection(request)
    return web.Response(status=503)


def _server_error(code: int, message: str) -> StatusError:
    """A failure of the server with its usual message."""
    if code == 503:
        text = message or "the server is currently unable to handle the request"
        return StatusError(code, "ServiceUnavailable", text)
    if code == 504:
        text = message or "Timeout: request did not complete within the allotted timeout"
        return StatusError(code, "Timeout", text, details={})
    text = message or "etcdserver: request timed out"
    details = {"causes": [{"message": text}]}
    return StatusError(code, "InternalError", f"Internal error occurred: {text}", details=details)


def _number(raw: Mapping[str, Any], name: str, *, highest: float | None = None) -> float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"{name}: must be a number")
    if highest is not None and not 0 <= value <= highest:
        raise bad_request(f"{name}: must be between 0 and {highest:g}")
    return float(value)
