"""A small API server on a real socket, with TLS, that answers as a test says and remembers what it was asked."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web


def status(code, reason="", message="", *, headers=None, **more):
    """An answer that says no, as the API server words it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        **more,
    }
    return lambda request: web.json_response(body, status=code, headers=headers)


def text(body, *, code=200, content_type="text/plain"):
    return lambda request: web.Response(text=body, status=code, content_type=content_type)


def hang_up(request):
    """Take the request, and close the connection without a word."""
    request.transport.abort()
    return web.Response()


async def never(request):
    """Take the request, and say nothing."""
    await asyncio.Event().wait()


@dataclass
class Asked:
    """A request as the server saw it."""

    method: str
    path: str
    query: dict
    headers: object
    body: bytes
    connection: object
    certificate: dict | None

    @property
    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    @property
    def subject(self):
        """The common name of the client's certificate."""
        names = dict(pair for rdn in (self.certificate or {}).get("subject", ()) for pair in rdn)
        return names.get("commonName")


@dataclass
class API:
    """Answers with what was scripted, in its order; else with an empty object.

    Attributes:
        tokens: bearer tokens that are accepted; None for any.
        subjects: common names of client certificates that are accepted; None for any.
    """

    answers: deque = field(default_factory=deque)
    asked: list = field(default_factory=list)
    tokens: set | None = None
    subjects: set | None = None
    port: int = 0
    _arrivals: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    @property
    def calls(self):
        return [(x.method, x.path) for x in self.asked]

    def will(self, *answers):
        self.answers.extend(answers)

    async def arrival(self, count):
        """Return once so many requests have come."""
        async with self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.asked) >= count)

    async def handle(self, request):
        asked = Asked(
            request.method,
            request.raw_path.partition("?")[0],
            dict(request.query),
            request.headers,
            await request.read(),
            request.transport,
            request.transport.get_extra_info("peercert"),
        )
        self.asked.append(asked)
        async with self._arrivals:
            self._arrivals.notify_all()
        if self.tokens is not None and asked.token not in self.tokens:
            return status(401, "Unauthorized", "Unauthorized")(request)
        if self.subjects is not None and asked.subject not in self.subjects:
            return status(401, "Unauthorized", "Unauthorized")(request)
        answer = self.answers.popleft() if self.answers else web.json_response
        if answer is web.json_response:
            return web.json_response({"metadata": {"name": "thing"}})
        result = answer(request)
        return await result if asyncio.iscoroutine(result) else result

    async def serve(self, authority):
        """The running server; to be cleaned up."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=0.1,
            keepalive_timeout=90,
            handler_cancellation=True,
        )
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.files("127.0.0.1"))
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=context).start()
        self.port = runner.addresses[0][1]
        return runner
