"""Requests to a git host's API: authentication, retries, rate limits and paging.

Guarantees: credentials are sent only to the API's origin, never after a redirect or to a link to another origin; responses
have a size limit and a timeout; a write is retried only if it cannot have happened (a rejection by a rate limit, or no
connection), or if it may happen twice.
"""

import asyncio
import json
import os
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urljoin, urlsplit

import aiohttp

from kubetask_controller.types import JSON

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""Maximum size of a response in bytes."""
MAX_LIST_PAGES = 1000
"""Maximum number of pages of a list."""
MAX_REDIRECTS = 5
TRIES = 6
"""Maximum number of tries of a request that fails without a rate limit."""
MAX_LIMIT_WAIT = 60.0
"""Maximum wait in seconds between two tries for a rate limit if the host does not request one."""
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_SECONDARY = re.compile(r"secondary rate|abuse detection", re.IGNORECASE)
_LIMIT = re.compile(r"rate limit|abuse detection|secondary rate|too many requests", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of requests.

    Attributes:
        timeout: timeout of one request in seconds.
        max_wait: maximum total wait in seconds for rate limits and failing servers, over all tries of one request.
        parallel: maximum number of concurrent requests.
    """

    timeout: float = 60.0
    max_wait: float = 900.0
    parallel: int = 4


class HostError(Exception):
    """A git host rejected a request, or is unreachable.

    Attributes:
        status: HTTP status; 0 if there was no response.
        rate_limited: whether the host enforces a rate limit.
        uncertain: whether the host may have carried out the request.
    """

    def __init__(
        self, message: str, status: int = 0, *, rate_limited: bool = False, uncertain: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.rate_limited = rate_limited
        self.uncertain = uncertain


@dataclass(frozen=True, slots=True)
class HostResponse:
    """A response: status, headers in lower case, and the body, parsed if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


class HostSession:
    """A session with the API at one base URL. Use as an async context manager.

    Args:
        url: base URL of the API.
        headers: headers of every request, including those for authentication.
        limits: limits of requests.
        ca_file: PEM file with authorities, in addition to those of the system.
        waiting: called with a message before waiting for a rate limit.
        sleep: waits.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        limits: RequestLimits | None = None,
        ca_file: str = "",
        waiting: Callable[[str], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "kubetask", **headers}
        self._limits = limits or RequestLimits()
        self._ca_file = ca_file
        self._waiting = waiting or (lambda _: None)
        self._sleep = sleep
        self._slots = asyncio.Semaphore(self._limits.parallel)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context()
        for path in (self._ca_file, os.environ.get("SSL_CERT_FILE", "")):
            try:
                if path:
                    context.load_verify_locations(path)
            except OSError as error:
                raise HostError(f"{path} has no certificate authorities: {error}") from error
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=self._limits.timeout, sock_connect=self._limits.timeout / 2
            ),
            connector=aiohttp.TCPConnector(ssl=context, limit=self._limits.parallel),
            # The proxy of HTTPS_PROXY and NO_PROXY.
            trust_env=True,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, **query: Any) -> Any:
        """Send GET; returns the body.

        Raises:
            HostError: as all methods do.
        """
        return (await self.send("GET", path, query=query)).body

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Send POST; returns the body."""
        return (await self.send("POST", path, body, query=query)).body

    async def put(self, path: str, body: Any = None, **query: Any) -> Any:
        """Send PUT; returns the body."""
        return (await self.send("PUT", path, body, query=query)).body

    async def patch(self, path: str, body: Any = None, **query: Any) -> Any:
        """Send PATCH; returns the body."""
        return (await self.send("PATCH", path, body, query=query)).body

    async def delete(self, path: str, body: Any = None, **query: Any) -> Any:
        """Send DELETE; returns the body."""
        return (await self.send("DELETE", path, body, query=query)).body

    async def pages(self, path: str, **query: Any) -> AsyncIterator[Any]:
        """The bodies of all pages, by the Link header (RFC 8288)."""
        url, left = path, query
        for _ in range(MAX_LIST_PAGES):
            answer = await self.send("GET", url, query=left)
            yield answer.body
            found = _NEXT.search(answer.headers.get("link", ""))
            if not found:
                return
            url, left = urljoin(self._full(url), found[1]), {}
        raise HostError(f"{self.url}: the list has more than {MAX_LIST_PAGES} pages")

    async def items(self, path: str, **query: Any) -> AsyncIterator[JSON]:
        """The entries of all pages of a list."""
        async for page in self.pages(path, **query):
            if not isinstance(page, list):
                raise HostError(f"{self.url}: {path} is not a list")
            for item in page:
                yield item

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        repeatable: bool = False,
    ) -> HostResponse:
        """Send a request, with retries. Redirects to the same origin are followed.

        Args:
            method: HTTP method.
            path: path below the base URL, or a URL of the same origin.
            body: JSON body; None for none.
            query: parameters; None values are omitted.
            repeatable: whether the request may be carried out twice, as every GET.

        Raises:
            HostError: the message contains that of the host.
        """
        url = self._full(path)
        if _origin(url) != _origin(self.url):
            raise HostError(f"{self.url}: the API points to another host, {_origin(url)}")
        params = {k: _text(v) for k, v in (query or {}).items() if v is not None}
        repeatable = repeatable or method == "GET"
        waited, failures, refusals, redirects = 0.0, 0, 0, 0
        while True:
            try:
                answer = await self._once(method, url, body, params)
            except (aiohttp.ClientError, TimeoutError) as error:
                sent = not isinstance(error, _NOT_SENT)
                wait = self._backoff(failures)
                failures += 1
                final = isinstance(error, aiohttp.ClientConnectorCertificateError)
                if final or (sent and not repeatable) or self._is_last(failures, waited + wait):
                    what = str(error) or type(error).__name__
                    message = f"{self.url} is unreachable: {what}"
                    raise HostError(message, uncertain=sent) from error
                waited += wait
                await self._sleep(wait)
                continue
            if 300 <= answer.status < 400:
                url, params = self._redirected(method, url, params, answer, redirects)
                redirects += 1
                continue
            if answer.status < 400 and not _is_refused_query(answer):
                return self._accepted(answer)
            failure = _failure(method, url, answer)
            requested = _requested_wait(answer.headers)
            if failure.rate_limited:
                wait = _limit_wait(str(failure), refusals, requested)
                refusals += 1
                last = waited + wait > self._limits.max_wait
            else:
                wait = self._backoff(failures) if requested is None else requested + 1
                failures += 1
                last = self._is_last(failures, waited + wait)
                last = last or not (repeatable and answer.status >= 500)
            if last:
                raise failure
            self._waiting(
                f"{urlsplit(self.url).hostname} responded with {answer.status}; retrying in {wait:.0f} s"
            )
            waited += wait
            await self._sleep(wait)

    def _is_last(self, failures: int, waited: float) -> bool:
        return failures >= TRIES or waited > self._limits.max_wait

    def _accepted(self, answer: HostResponse) -> HostResponse:
        """The response, unless it is a page for people."""
        if answer.status == 203:
            # Azure DevOps responds to an unknown token with a sign-in page.
            raise HostError(
                f"{self.url} responded with a sign-in page: the token is not valid", 401
            )
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise HostError(
                f"{self.url} responded with a web page: it is not the URL of the API, or the token is not valid",
                answer.status,
                uncertain=True,
            )
        return answer

    def _redirected(
        self, method: str, url: str, params: dict[str, str], answer: HostResponse, count: int
    ) -> tuple[str, dict[str, str]]:
        """The URL and the parameters after a redirect, such as that of a renamed repository."""
        location = answer.headers.get("location", "")
        target = urljoin(url, location)
        known = answer.status in (307, 308) or (method == "GET" and answer.status in (301, 302))
        # Another origin would receive the credentials.
        if not location or not known or _origin(target) != _origin(url) or count >= MAX_REDIRECTS:
            raise HostError(
                f"{self.url} redirects to {location or 'an empty URL'}: the repository was moved or renamed, or the"
                " API has another URL",
                answer.status,
            )
        return target, {} if urlsplit(target).query else params

    async def _once(
        self, method: str, url: str, body: Any, params: Mapping[str, str]
    ) -> HostResponse:
        assert self._session is not None
        async with (
            self._slots,
            self._session.request(
                method,
                url,
                params=params,
                json=body,
                headers=self._headers,
                allow_redirects=False,
            ) as response,
        ):
            raw = b""
            async for chunk in response.content.iter_chunked(65536):
                raw += chunk
                if len(raw) > MAX_RESPONSE_BYTES:
                    raise HostError(
                        f"{self.url}: the response has more than {MAX_RESPONSE_BYTES >> 20} MiB"
                    )
            headers = {k.lower(): v for k, v in response.headers.items()}
            return HostResponse(response.status, headers, _parsed(raw))

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)

    async def numbered(self, path: str, **query: Any) -> AsyncIterator[JSON]:
        """The entries of all pages of a list without a Link header, by number."""
        count = 0
        for page in range(1, MAX_LIST_PAGES + 1):
            answer = await self.send("GET", path, query={**query, "page": page})
            for item in answer.body or ():
                count += 1
                yield item
            total = answer.headers.get("x-total-count", "")
            if not answer.body or (total.isdigit() and count >= int(total)):
                return
        raise HostError(f"{self.url}: the list has more than {MAX_LIST_PAGES} pages")

    def _full(self, path: str) -> str:
        return path if "://" in path else f"{self.url}/{path.lstrip('/')}"

    def _backoff(self, attempt: int) -> float:
        return float(min(2.0**attempt, 30.0) * (0.5 + random.random()))


_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Errors before a request is sent."""


async def create_once(
    create: Callable[[], Awaitable[JSON]],
    existing: Callable[[], Awaitable[JSON | None]],
    conflict: int = 409,
) -> JSON:
    """Create an object; the existing one if another attempt created it, or if the response was lost.

    Args:
        create: sends the request.
        existing: looks for the object.
        conflict: the host's status if the object exists.

    Raises:
        HostError: it was not created.
    """
    try:
        return await create()
    except HostError as error:
        if error.status != conflict and not error.uncertain:
            raise
        found = await existing()
        if found is None:
            raise
        return found


def path_segment(value: object) -> str:
    """A percent-encoded path segment."""
    return quote(str(value), safe="")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw[:2000].decode(errors="replace")


def _requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as requested by the host: Retry-After, or the reset of an exhausted rate limit."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            return None
    if headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining")) == "0":
        reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset", ""))
        if reset.isdigit():
            return max(0.0, int(reset) - time.time()) if int(reset) > 1e9 else float(reset)
    return None


def _limit_wait(message: str, refusals: int, requested: float | None) -> float:
    """Seconds to wait for a rate limit, with a jitter, so that tasks do not retry together."""
    wait = float(min(2.0 ** min(refusals, 10), MAX_LIMIT_WAIT) * (0.5 + random.random()))
    if requested is not None:
        return requested + wait
    # GitHub requires at least a minute.
    return MAX_LIMIT_WAIT + wait if _SECONDARY.search(message) else wait


def _is_refused_query(answer: HostResponse) -> bool:
    """Whether a GraphQL query was rejected by a rate limit, which has the status 200."""
    errors = answer.body.get("errors") if isinstance(answer.body, dict) else None
    return isinstance(errors, list) and any(
        isinstance(x, dict) and x.get("type") == "RATE_LIMITED" for x in errors
    )


def _failure(method: str, url: str, answer: HostResponse) -> HostError:
    """Convert a response into an error with the host's message."""
    text = error_text(answer.body) or {
        401: "the token is not valid, or none was sent",
        403: "the token may not do that",
        404: "not found, or the token may not see it",
    }.get(answer.status, "")
    limited = answer.status == 429 or _is_refused_query(answer)
    limited = limited or (
        answer.status == 403
        and (
            bool(_LIMIT.search(text))
            or answer.headers.get("x-ratelimit-remaining") == "0"
            or "retry-after" in answer.headers
        )
    )
    parts = urlsplit(url)
    sso = answer.headers.get("x-github-sso", "")
    if sso.startswith("required"):
        text = f"{text} (single sign-on: {sso.partition('url=')[2]})"
    return HostError(
        f"{method} {parts.scheme}://{parts.netloc}{parts.path} responded with {answer.status}: {text}",
        answer.status,
        rate_limited=limited,
        uncertain=answer.status >= 500,
    )


def error_text(body: Any) -> str:
    """The message of a host's error, for any structure of the body, in one line."""
    found: list[str] = []

    def collect(value: Any, depth: int = 0) -> None:
        if depth > 4 or len(found) > 5:
            return
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for each in value:
                collect(each, depth + 1)
        elif isinstance(value, dict):
            if "field" in value and "code" in value and "message" not in value:
                found.append(f"{value['field']} {value['code']}")
                return
            keys = ("message", "error", "error_description", "errors", "detail", "fields")
            known = [value[x] for x in keys if value.get(x)]
            for each in known or (list(value.values()) if depth else []):
                collect(each, depth + 1)

    if isinstance(body, str):
        text = re.sub(r"<[^>]*>", " ", body)
    else:
        collect(body)
        text = "; ".join(dict.fromkeys(found))
    return re.sub(r"\s+", " ", text).strip()[:500]
