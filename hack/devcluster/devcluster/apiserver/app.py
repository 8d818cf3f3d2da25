"""The HTTP front end of the API server: authentication, authorization, routing, errors.

`create_app` gives an aiohttp application; its `ApiServer` is `app[API_SERVER]`, so that in-process clients can share the
registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from pydantic_core import to_json

from devcluster.storage import Storage

from . import discovery, openapi, paths
from .admission import with_answers
from .errors import StatusError, forbidden, forbidden_reason, resource_not_found
from .faults import FAULTS_PATH, Faults
from .handlers import Call, handle_resource
from .interfaces import AdmissionPlugin, Attributes, Authenticator, Authorizer, User
from .server import ANONYMOUS, ApiServer, ApiServerOptions, create_server

API_SERVER: web.AppKey[ApiServer] = web.AppKey("api_server", ApiServer)
HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(
    storage: Storage,
    *,
    authenticator: Authenticator,
    authorizer: Authorizer,
    admission: Sequence[AdmissionPlugin] = (),
    options: ApiServerOptions | None = None,
    server: ApiServer | None = None,
) -> web.Application:
    """The application of a server; pass `server` to serve one that exists already."""
    if server is None:
        server = create_server(
            storage,
            authenticator=authenticator,
            authorizer=authorizer,
            admission=admission,
            options=options,
        )
    if server.faults is None:
        server.faults = Faults(storage, seed=server.options.seed)
    app = web.Application(client_max_size=0)
    app[API_SERVER] = server
    frontend = _Frontend(server, server.faults)
    app.router.add_route("*", "/{path:.*}", frontend.handle)
    return app


def error_response(error: StatusError) -> web.Response:
    """A failure as the API server answers it."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    return web.Response(
        status=error.code,
        body=to_json(error.body()) + b"\n",
        content_type="application/json",
        headers=headers,
    )


class _Frontend:
    """The handler of every request."""

    def __init__(self, server: ApiServer, faults: Faults) -> None:
        self.server = server
        self.faults = faults

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            user = self._authenticate(request)
            info = paths.parse(request.method, request.path, request.query)
            faulted = await self.faults.before(request, user, info)
            if faulted is not None:
                return faulted
            response = await self._answer(request, user, info)
            return await self.faults.after(request, user, info, response)
        except StatusError as error:
            return error_response(error)

    async def _answer(
        self, request: web.Request, user: User, info: paths.RequestInfo
    ) -> web.StreamResponse:
        try:
            self._authorize(user, info)
            return await self._route(request, user, info)
        except StatusError as error:
            return error_response(error)

    def _authenticate(self, request: web.Request) -> User:
        return self.server.authenticator(request) or ANONYMOUS

    def _authorize(self, user: User, info: paths.RequestInfo) -> None:
        attributes = Attributes(
            verb=info.verb,
            group=info.group,
            version=info.version,
            resource=info.resource,
            subresource=info.subresource,
            namespace=info.namespace,
            name=info.name,
            path=info.path,
            is_resource=info.is_resource,
            user=user,
        )
        allowed, reason = self.server.authorizer(user, attributes)
        if allowed:
            return
        if info.is_resource:
            why = forbidden_reason(user, attributes, reason)
            raise forbidden(info.group, info.resource, info.name, why)
        message = f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"'
        raise StatusError(403, "Forbidden", message, details={})

    async def _route(
        self, request: web.Request, user: User, info: paths.RequestInfo
    ) -> web.StreamResponse:
        if info.is_resource:
            resource = self.server.catalog.find(info.group, info.version, info.resource)
            if resource is None:
                return self._unknown(info)
            call = Call(self.server, request, user, info, resource)
            return await with_answers(lambda: handle_resource(call))
        path = request.path.rstrip("/") or "/"
        if path in HEALTH_PATHS or path.split("/")[1] in ("healthz", "livez", "readyz"):
            return self._health(path)
        if path == FAULTS_PATH:
            return await self.faults.admin(request, user)
        if path.startswith("/openapi/v3"):
            found = openapi.respond(self.server.catalog, path)
        else:
            found = discovery.respond(self.server, request, path)
        return found if found is not None else page_not_found()

    def _unknown(self, info: paths.RequestInfo) -> web.StreamResponse:
        group = self.server.catalog.groups.get(info.group)
        if group is None or info.version not in group.versions:
            return page_not_found()
        raise resource_not_found()

    def _health(self, path: str) -> web.Response:
        if self.server.ready or path != "/readyz":
            return web.Response(text="ok")
        return web.Response(
            status=500, text="[-]shutdown failed: reason withheld\nreadyz check failed"
        )


def page_not_found() -> web.Response:
    """The answer of Go's mux for a path that is not served."""
    return web.Response(status=404, text="404 page not found\n")


async def close_streams(server: ApiServer) -> None:
    """End every watch, so that connections can close."""
    server.storage.close_watches()
    await asyncio.sleep(0)
