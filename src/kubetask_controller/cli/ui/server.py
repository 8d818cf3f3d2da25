"""The server of the page: on loopback only, for the user who started it.

It uses the user's kubeconfig, so every client that can send it a request has the user's rights.
Protection against other clients:

- It listens only on 127.0.0.1.
- Each request for data needs the token in an Authorization header. The page reads the token from the
  fragment of its URL, which browsers do not send, and stores it in the tab's sessionStorage. There is
  no cookie: a browser sends cookies of 127.0.0.1 to every port, and with requests of other sites.
- The Host header must be that of this server, which rejects a name that another site resolves to 127.0.0.1.
- An Origin or Sec-Fetch-Site header of another site is rejected before the token is checked.
- There are no CORS headers, and the Content-Security-Policy has no host but this one.
- A request does one of a few things. It is not a proxy of the Kubernetes API.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from aiohttp import web
from pydantic_core import from_json, to_json

from kubetask_controller.api import constants as c
from kubetask_controller.api.indexes import parse_indexes
from kubetask_controller.cli import actions
from kubetask_controller.cli.exits import CliError, UsageError
from kubetask_controller.cli.runview import BatchRunView
from kubetask_controller.cli.session import BATCH_RUN_RESOURCE, TASK_RESOURCE, Session, Target
from kubetask_controller.cli.ui import streams, views
from kubetask_controller.client import ClientError
from kubetask_controller.types import JSON

RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ADDRESS = "127.0.0.1"
MAX_BODY = 64 * 1024
CODE_SECONDS = 60.0
"""Seconds for which the one-time code in the browser's URL is valid."""
SHUTDOWN_TIMEOUT = 1.0
PING_SECONDS = 15.0
"""Interval of {"type": "ping"} in a stream; the page reconnects after some time without a message."""
ASSETS = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/app.css": ("app.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings from the command line.

    Attributes:
        namespace: the only namespace to show; empty for all that the user can list.
        read_only: whether the page cannot change anything.
    """

    namespace: str = ""
    read_only: bool = False


class Server:
    """Serves one session with one cluster."""

    def __init__(self, session: Session, settings: ServerSettings) -> None:
        self._session = session
        self._settings = settings
        self._token = secrets.token_urlsafe(32)
        self._codes: dict[str, float] = {}
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of the page, for the user who started the server."""
        return f"http://{ADDRESS}:{self.port}/#token={self._token}"

    def one_time_url(self) -> str:
        """A URL for the command line of a browser, which other users of the machine can read: it is
        valid once, within CODE_SECONDS."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = asyncio.get_running_loop().time() + CODE_SECONDS
        return f"http://{ADDRESS}:{self.port}/#code={code}"

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        """Listen until the block ends. Port 0 selects a free port.

        Raises:
            UsageError: the port is not available.
        """
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        for path in ASSETS:
            app.router.add_get(path, _asset)
        app.router.add_post("/api/session", self._exchange)
        app.router.add_get("/api/about", self._about)
        app.router.add_get("/api/runs", self._runs)
        app.router.add_get("/api/run", self._run)
        app.router.add_get("/api/task", self._task)
        app.router.add_get("/api/log", self._log)
        app.router.add_post("/api/plan", self._plan)
        app.router.add_post("/api/act", self._act)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT
        )
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, ADDRESS, port, reuse_address=True).start()
            except OSError as error:
                raise UsageError(f"port {port} of {ADDRESS} is not available: {error}") from error
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _problem(error.status, error.text or error.reason)
        except (CliError, ClientError, LookupError, ValueError) as error:
            response = _problem(_status(error), views.shown(error))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        """Authenticate and authorize a request.

        Raises:
            HTTPException: the request is rejected.
        """
        own = {f"{ADDRESS}:{self.port}", f"localhost:{self.port}"}
        if request.headers.get("Host", "") not in own or len(request.headers.getall("Host")) != 1:
            raise web.HTTPForbidden(text="The Host header does not name this server.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.headers['Host']}":
            raise web.HTTPForbidden(text="Another site must not use this server.")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise web.HTTPForbidden(text="Another site must not use this server.")
        if request.method == "POST" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="The body must be JSON.")
        if request.path in ASSETS or request.path == "/api/session":
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise web.HTTPUnauthorized(
                text="The token is missing or not valid. Open the URL that kubectl kubetask ui printed."
            )

    async def _exchange(self, request: web.Request) -> web.Response:
        """Exchange a one-time code for the token."""
        body = await _body(request)
        valid_until = self._codes.pop(str(body.get("code", "")), 0.0)
        if valid_until < asyncio.get_running_loop().time():
            raise web.HTTPUnauthorized(
                text="This link was used already. Open the URL that kubectl kubetask ui printed."
            )
        return _answer({"token": self._token})

    async def _about(self, request: web.Request) -> web.Response:
        """The cluster and the settings."""
        return _answer(
            {
                "cluster": views.shown(self._session.transport.host, 300),
                "namespace": self._settings.namespace,
                "readOnly": self._settings.read_only,
            }
        )

    async def _runs(self, request: web.Request) -> web.StreamResponse:
        async def runs(send: streams.Send) -> None:
            namespaces: Sequence[str]
            if self._settings.namespace:
                namespaces, omitted = [self._settings.namespace], ""
            else:
                namespaces, omitted = await streams.visible_namespaces(self._session)
            await streams.overview(self._session, namespaces, send, omitted)

        return await _stream(request, runs)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        session, target = self._target(request.query)
        return await _stream(request, lambda send: streams.one_run(session, target, send))

    async def _task(self, request: web.Request) -> web.Response:
        session, target = self._target(request.query)
        return _answer(await streams.task(session, target, _index(request)))

    async def _log(self, request: web.Request) -> web.StreamResponse:
        session, target = self._target(request.query)
        index = _index(request)
        container = request.query.get("container", c.CONTAINER_AGENT)
        if container not in (c.CONTAINER_AGENT, c.CONTAINER_WORKSPACE):
            raise web.HTTPBadRequest(text="There is no such container.")
        return await _stream(
            request, lambda send: streams.log(session, target, index, container, send)
        )

    async def _plan(self, request: web.Request) -> web.Response:
        """The effects of a change, and the result of a dry run."""
        body = await _body(request)
        session, target, _, plan = await self._planned(body)
        refused = ""
        try:
            if self._settings.read_only:
                raise CliError("the page was started with --read-only")
            await _carry_out(session, target, plan, {"dryRun": "All"})
        except (CliError, ClientError) as error:
            refused = views.shown(error)
        return _answer(
            {
                "effects": [views.shown(x) for x in plan.effects],
                "command": views.shown(plan.command),
                "nothing": plan.nothing,
                "refused": refused,
                "fields": _fields(plan),
            }
        )

    async def _act(self, request: web.Request) -> web.Response:
        """Make a planned change, unless the plan is different now."""
        if self._settings.read_only:
            raise web.HTTPForbidden(text="The page was started with --read-only.")
        body = await _body(request)
        session, target, _, plan = await self._planned(body)
        if body.get("fields") != _fields(plan):
            raise web.HTTPConflict(text="The run has changed. Reload the page and try again.")
        made = await _carry_out(session, target, plan, {})
        return _answer({"name": made["metadata"]["name"]})

    async def _planned(
        self, body: JSON
    ) -> tuple[Session, Target, BatchRunView, actions.PlannedChange]:
        session, target = self._target(body)
        found = await session.get(target)
        if found["metadata"].get("uid") != body.get("uid"):
            raise web.HTTPConflict(text=f"{target} was deleted and created again. Reload the page.")
        view = streams.view_of({**found, "kind": target.resource.kind})
        match body.get("action"):
            case "suspend":
                plan = actions.suspend(target, found, view)
            case "resume":
                plan = actions.resume(target, found, view)
            case "cancel":
                plan = actions.cancel(target, found, view)
            case "promote":
                more = body.get("more")
                if more is not None and (
                    not isinstance(more, int) or isinstance(more, bool) or more < 1
                ):
                    raise web.HTTPBadRequest(text="The number of tasks is at least 1.")
                plan = actions.promote(target, found, view, more)
            case "retry":
                indexes = body.get("indexes")
                chosen = (
                    None
                    if indexes is None
                    else parse_indexes(str(indexes), limit=view.counts["total"] or None)
                )
                plan = actions.retry(target, found, view, chosen)
            case _:
                raise web.HTTPBadRequest(text="There is no such action.")
        return session, target, view, plan

    def _target(self, query: Any) -> tuple[Session, Target]:
        """The session and the object of a request."""
        namespace, name = str(query.get("namespace") or ""), str(query.get("name") or "")
        resource = {c.KIND_BATCH_RUN: BATCH_RUN_RESOURCE, c.KIND_TASK: TASK_RESOURCE}.get(
            str(query.get("kind"))
        )
        if not namespace or not name or resource is None:
            raise web.HTTPBadRequest(text="kind, namespace and name are needed.")
        if self._settings.namespace and namespace != self._settings.namespace:
            raise web.HTTPForbidden(
                text=f"The page shows only namespace {self._settings.namespace}."
            )
        return replace(self._session, namespace=namespace), Target(resource, name)


async def _carry_out(
    session: Session, target: Target, plan: actions.PlannedChange, params: dict[str, str]
) -> JSON:
    with session.explained(target):
        if plan.body:
            return await session.client.create(
                BATCH_RUN_RESOURCE, session.namespace, dict(plan.body), params=params
            )
        return await session.client.patch(
            target.resource, session.namespace, target.name, dict(plan.patch), params=params
        )


def _fields(plan: actions.PlannedChange) -> JSON:
    """The fields that a plan sets. The page sends them back, so that only the confirmed change is made."""
    return dict(plan.patch.get("spec") or plan.body.get("spec") or {})


def _index(request: web.Request) -> int:
    text = request.query.get("index", "0")
    if not text.isdecimal() or len(text) > 5:
        raise web.HTTPBadRequest(text="index must be a number from 0.")
    return int(text)


async def _body(request: web.Request) -> JSON:
    try:
        found = from_json(await request.read())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(text="The body must be a JSON object.")
    return found


def _status(error: Exception) -> int:
    if isinstance(error, LookupError):
        return 404
    if isinstance(error, CliError):
        return {2: 400, 4: 404, 5: 502}.get(int(error.code), 409)
    return 502 if isinstance(error, ClientError) else 400


def _problem(status: int, message: str) -> web.Response:
    return _answer({"error": message}, status)


def _answer(body: JSON, status: int = 200) -> web.Response:
    return web.Response(body=to_json(body), status=status, content_type="application/json")


async def _asset(request: web.Request) -> web.Response:
    name, content_type = ASSETS[request.path]
    data = files("kubetask_controller.cli.ui").joinpath("static", name).read_bytes()
    return web.Response(body=data, content_type=content_type, charset="utf-8")


async def _stream(
    request: web.Request, source: Callable[[streams.Send], Awaitable[None]]
) -> web.StreamResponse:
    """Send a line of JSON for each message, until the stream ends or the page disconnects."""
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = "application/x-ndjson"
    await response.prepare(request)

    async def send(message: JSON) -> None:
        await response.write(to_json(message) + b"\n")

    pings = asyncio.create_task(_ping(send))
    try:
        await source(send)
    except (CliError, ClientError, LookupError) as error:
        await send({"type": "error", "message": views.shown(error)})
    except ConnectionResetError:
        return response
    finally:
        pings.cancel()
    await response.write_eof()
    return response


async def _ping(send: streams.Send) -> None:
    """Send pings, also while the source waits for the API server, until the page disconnects."""
    with suppress(ConnectionResetError):
        while True:
            await asyncio.sleep(PING_SECONDS)
            await send({"type": "ping"})
