"""Authentication and authorization of scrapers, by TokenReview and SubjectAccessReview.

As controller-runtime's filter has done since kube-rbac-proxy was retired: decisions are cached, so a scrape every few seconds
costs the API server next to nothing; an anonymous request is refused; where the API server does not answer, the response is
500 without details. Unknown tokens and users are reviewed at a bounded rate, for each address and in total; beyond it the
response is 429. So a flood costs the API server no more than that, and does not lock out scrapers that were admitted before.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic_core import to_json

from kubetask_controller.client.errors import ClientError
from kubetask_controller.client.resources import SUBJECTACCESSREVIEWS, TOKENREVIEWS
from kubetask_controller.client.rest import Client
from kubetask_controller.runtime.clock import Clock

REVIEW_TIMEOUT = 10.0
AUTHENTICATED_SECONDS = 60.0
ALLOWED_SECONDS = 300.0
DENIED_SECONDS = 30.0
MAX_DECISIONS = 1024
ADDRESS_REVIEWS = (1.0, 10)
"""Reviews a second, and burst, of unknown tokens and users from one address."""
ALL_REVIEWS = (20.0, 40)
"""Reviews a second, and burst, of unknown tokens and users in total."""

logger = structlog.get_logger("metrics")


@dataclass(frozen=True, slots=True)
class _Decision:
    value: Any
    until: float


class _TooManyReviewsError(Exception):
    """A review would exceed the bounded rate."""


@dataclass(slots=True)
class _Budget:
    """A token bucket that refuses instead of waiting."""

    rate: float
    burst: int
    left: float
    at: float

    def take(self, now: float) -> bool:
        """Whether one more review is within the rate."""
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class MetricsAuthorizer:
    """Reviews scrapers, and caches the decisions."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._users: dict[str, _Decision] = {}
        self._rejected: dict[str, _Decision] = {}
        self._decisions: dict[bytes, _Decision] = {}
        self._all = _Budget(*ALL_REVIEWS, ALL_REVIEWS[1], clock.monotonic())
        self._addresses: dict[str, _Budget] = {}

    def middleware(self) -> Middleware:
        """For an HTTPServer."""

        @web.middleware
        async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token or not token.isascii():
                return web.Response(status=401, text="Unauthorized\n")
            try:
                address = request.remote or ""
                user = await self._user(token.strip(), address)
                if user is None:
                    return web.Response(status=401, text="Unauthorized\n")
                if not await self._allowed(user, request.method.lower(), request.path, address):
                    return web.Response(status=403, text="Forbidden\n")
            except _TooManyReviewsError:
                return web.Response(
                    status=429, text="Too Many Requests\n", headers={"Retry-After": "1"}
                )
            except ClientError as error:
                logger.warning("Scraper could not be authorized", error=str(error))
                return web.Response(status=500, text="Internal Server Error\n")
            return await handler(request)

        return authorize

    async def _user(self, token: str, address: str) -> dict[str, Any] | None:
        # The key is a digest, so that no token stays in memory for longer than its request.
        key = hashlib.sha256(token.encode()).hexdigest()
        cached = self._cached(self._users, key) or self._cached(self._rejected, key)
        if cached:
            user: dict[str, Any] | None = cached.value
            return user
        self._spend(address, known=key in self._users)
        body = {
            "apiVersion": TOKENREVIEWS.api_version,
            "kind": TOKENREVIEWS.kind,
            "spec": {"token": token},
        }
        review = await self._client.create(TOKENREVIEWS, None, body, timeout=REVIEW_TIMEOUT)
        status = review.get("status") or {}
        found: dict[str, Any] | None = status["user"] if status.get("authenticated") else None
        self._users.pop(key, None)
        kept = self._rejected if found is None else self._users
        self._keep(kept, key, found, AUTHENTICATED_SECONDS)
        return found

    async def _allowed(self, user: dict[str, Any], verb: str, path: str, address: str) -> bool:
        fields = {
            "user": user.get("username"),
            "uid": user.get("uid"),
            "groups": user.get("groups"),
            "extra": user.get("extra"),
            "nonResourceAttributes": {"path": path, "verb": verb},
        }
        spec = {name: value for name, value in fields.items() if value}
        # Not the name alone: RBAC may allow a user by its groups.
        key = to_json(spec)
        cached = self._cached(self._decisions, key)
        if cached:
            return bool(cached.value)
        previous = self._decisions.get(key)
        self._spend(address, known=previous is not None and previous.value)
        body = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version,
            "kind": SUBJECTACCESSREVIEWS.kind,
            "spec": spec,
        }
        review = await self._client.create(SUBJECTACCESSREVIEWS, None, body, timeout=REVIEW_TIMEOUT)
        allowed = bool((review.get("status") or {}).get("allowed"))
        self._keep(self._decisions, key, allowed, ALLOWED_SECONDS if allowed else DENIED_SECONDS)
        return allowed

    def _cached(self, decisions: dict[Any, _Decision], key: Any) -> _Decision | None:
        decision = decisions.get(key)
        return decision if decision and decision.until > self._clock.monotonic() else None

    def _keep(self, decisions: dict[Any, _Decision], key: Any, value: Any, seconds: float) -> None:
        now = self._clock.monotonic()
        decisions.pop(key, None)
        if len(decisions) >= MAX_DECISIONS:
            for old in [k for k, v in decisions.items() if v.until <= now] or [
                next(iter(decisions))
            ]:
                del decisions[old]
        decisions[key] = _Decision(value, now + seconds)

    def _spend(self, address: str, *, known: bool) -> None:
        """Count a review of an unknown token. Raises _TooManyReviewsError."""
        if known:
            return
        now = self._clock.monotonic()
        if len(self._addresses) >= MAX_DECISIONS and address not in self._addresses:
            del self._addresses[next(iter(self._addresses))]
        own = self._addresses.setdefault(
            address, _Budget(*ADDRESS_REVIEWS, ADDRESS_REVIEWS[1], now)
        )
        if not own.take(now) or not self._all.take(now):
            raise _TooManyReviewsError
