"""Who may scrape: a bearer token that TokenReview knows, of a user whom SubjectAccessReview lets GET the path.

As controller-runtime's filter does since kube-rbac-proxy went away: answers are kept for a while, so a scrape every few
seconds costs the API server next to nothing; an anonymous request is refused; where the API server cannot be asked, the
answer is 500 and nothing is told. What was never seen before is asked about at a bounded rate, for each address and for all
of them; beyond it the answer is 429. So whoever floods the port costs the API server no more than that, and keeps no scraper
out that it has let in before.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from pydantic_core import to_json

from kubetask_controller.client.errors import ClientError
from kubetask_controller.client.resources import SUBJECTACCESSREVIEWS, TOKENREVIEWS
from kubetask_controller.client.rest import Client
from kubetask_controller.runtime.clock import Clock

REVIEW_TIMEOUT = 10.0
AUTHENTICATED_SECONDS = 60.0
ALLOWED_SECONDS = 300.0
DENIED_SECONDS = 30.0
MAX_ANSWERS = 1024
ADDRESS_REVIEWS = (1.0, 10)
"""Reviews a second, and how many at once, for what one address sends that was never seen before."""
ALL_REVIEWS = (20.0, 40)

logger = structlog.get_logger("metrics")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Any
    until: float


class _TooManyReviewsError(Exception):
    """Raised where a question would go beyond the bounded rate."""


@dataclass(slots=True)
class _Budget:
    """A token bucket that refuses instead of waiting."""

    rate: float
    burst: int
    left: float
    at: float

    def take(self, now: float) -> bool:
        """Whether one more is within the rate."""
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class MetricsAuthorizer:
    """Asks the API server about scrapers."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._users: dict[str, _Answer] = {}
        self._strangers: dict[str, _Answer] = {}
        self._verdicts: dict[bytes, _Answer] = {}
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
        # The digest stands for the token, so that no token lies in memory for longer than its request.
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._known(self._users, key) or self._known(self._strangers, key)
        if known:
            user: dict[str, Any] | None = known.value
            return user
        self._spend(address, seen=key in self._users)
        body = {
            "apiVersion": TOKENREVIEWS.api_version,
            "kind": TOKENREVIEWS.kind,
            "spec": {"token": token},
        }
        review = await self._client.create(TOKENREVIEWS, None, body, timeout=REVIEW_TIMEOUT)
        status = review.get("status") or {}
        found: dict[str, Any] | None = status["user"] if status.get("authenticated") else None
        self._users.pop(key, None)
        kept = self._strangers if found is None else self._users
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
        # Not the name alone: its groups are what a user is allowed by.
        key = to_json(spec)
        known = self._known(self._verdicts, key)
        if known:
            return bool(known.value)
        seen = self._verdicts.get(key)
        self._spend(address, seen=seen is not None and seen.value)
        body = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version,
            "kind": SUBJECTACCESSREVIEWS.kind,
            "spec": spec,
        }
        review = await self._client.create(SUBJECTACCESSREVIEWS, None, body, timeout=REVIEW_TIMEOUT)
        allowed = bool((review.get("status") or {}).get("allowed"))
        self._keep(self._verdicts, key, allowed, ALLOWED_SECONDS if allowed else DENIED_SECONDS)
        return allowed

    def _known(self, answers: dict[Any, _Answer], key: Any) -> _Answer | None:
        answer = answers.get(key)
        return answer if answer and answer.until > self._clock.monotonic() else None

    def _keep(self, answers: dict[Any, _Answer], key: Any, value: Any, seconds: float) -> None:
        now = self._clock.monotonic()
        answers.pop(key, None)
        if len(answers) >= MAX_ANSWERS:
            for old in [k for k, v in answers.items() if v.until <= now] or [next(iter(answers))]:
                del answers[old]
        answers[key] = _Answer(value, now + seconds)

    def _spend(self, address: str, *, seen: bool) -> None:
        """Count a question. Raises _TooManyReviewsError."""
        if seen:
            return
        now = self._clock.monotonic()
        if len(self._addresses) >= MAX_ANSWERS and address not in self._addresses:
            del self._addresses[next(iter(self._addresses))]
        own = self._addresses.setdefault(
            address, _Budget(*ADDRESS_REVIEWS, ADDRESS_REVIEWS[1], now)
        )
        if not own.take(now) or not self._all.take(now):
            raise _TooManyReviewsError
