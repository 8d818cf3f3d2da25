"""Objects as they change: a list, then a watch, over again for as long as somebody looks.

Guarantees: every state that is given was one; a server that restarts or drops the connection is
waited for, up to PATIENCE. Does not promise every state between: a watch that was lost is begun
anew with what is there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.client import APIStatusError, ClientError, Resource, TransportError
from kubetask_controller.client.errors import is_expired, is_too_many_requests
from kubetask_controller.jsontypes import JSON

MAX_OUTAGE_SECONDS = 120.0
"""Seconds for which a server may be away."""
WATCH_TIMEOUT_SECONDS = 300.0
PAUSE = 1.0
"""Seconds between two attempts to reach a server."""
LISTED = "LISTED"
"""The type of the event that follows the last object of a list."""
PAGE = "500"


async def changes(
    session: Session,
    resource: Resource,
    selector: dict[str, str],
    *,
    lost: Callable[[ClientError], None] | None = None,
) -> AsyncGenerator[tuple[str, JSON], None]:
    """(ADDED | MODIFIED | DELETED | LISTED, object), without an end.

    After LISTED, what was given before and not since is no more.

    Args:
        session: whose namespace counts; an empty one stands for all namespaces.
        resource: what to list and watch.
        selector: parameters of both.
        lost: called at each failure that may pass; a server is then waited for without end.

    Raises:
        ClientError: the server refuses, or was away for longer than PATIENCE.
    """
    loop = asyncio.get_running_loop()
    heard: float | None = None
    while True:
        try:
            version = ""
            async for page in _pages(session, resource, selector):
                version = str(page["metadata"].get("resourceVersion", ""))
                for item in page.get("items") or []:
                    yield "ADDED", item
            yield LISTED, {}
            heard = loop.time()
            while version:
                # A server ends each watch in order after a while; the next one goes on from there.
                ended = loop.time()
                async with aclosing(_watch(session, resource, selector, version)) as events:
                    async for kind, item in events:
                        heard = loop.time()
                        metadata = item.get("metadata") or {}
                        version = str(metadata.get("resourceVersion") or version)
                        if kind != "BOOKMARK":
                            yield kind, item
                if loop.time() - ended < PAUSE:
                    await asyncio.sleep(PAUSE)
        except ClientError as error:
            if not _passes(error):
                raise
            if lost is not None:
                lost(error)
            elif heard is None or loop.time() - heard > MAX_OUTAGE_SECONDS:
                # A server that never answered is a mistake in the kubeconfig, not an outage.
                raise
        await asyncio.sleep(PAUSE)


async def states(session: Session, target: Target) -> AsyncGenerator[JSON, None]:
    """An object, each time it changes, without an end.

    Raises:
        CliError: it is not there, is deleted meanwhile, or the server refuses.
    """
    selector = {"fieldSelector": f"metadata.name={target.name}"}
    uid = ""
    present = False
    with session.explained(target):
        async with aclosing(changes(session, target.resource, selector)) as events:
            async for kind, item in events:
                if kind == LISTED:
                    if not present:
                        raise _gone(session, target, deleted=bool(uid))
                    present = False
                    continue
                found = str(item.get("metadata", {}).get("uid", ""))
                if kind == "DELETED" or (uid and found != uid):
                    raise _gone(session, target, deleted=True)
                uid, present = found, True
                yield item


async def follow_task(
    session: Session, target: Target, show: Callable[[JSON], None], *, timeout: float | None
) -> JSON:
    """Show a Task whenever its phase or reason changes, until it has ended; its last state.

    Raises:
        CliError: it is not there, it vanished, the server refuses, or the time is over.
    """
    seen: object = None
    try:
        async with asyncio.timeout(timeout):
            async with aclosing(states(session, target)) as found:
                async for task in found:
                    status = task.get("status") or {}
                    said = (status.get("phase"), status.get("reason"))
                    if said != seen:
                        seen = said
                        show(task)
                    if said[0] in (Phase.SUCCEEDED, Phase.FAILED):
                        return task
    except TimeoutError as late:
        raise CliError(f"{target} has not ended in {timeout:g} s", Exit.TIMEOUT) from late
    raise AssertionError("states() ends with an exception alone")


def _gone(session: Session, target: Target, *, deleted: bool) -> CliError:
    what = "was deleted" if deleted else f"not found in namespace {session.namespace}"
    return CliError(f"{target} {what}", Exit.NOT_FOUND)


async def _pages(
    session: Session, resource: Resource, selector: dict[str, str]
) -> AsyncGenerator[JSON, None]:
    """A list, page by page."""
    token = ""
    while True:
        params = {**selector, "limit": PAGE} | ({"continue": token} if token else {})
        page = await session.client.list(resource, session.namespace, params=params)
        yield page
        token = str(page["metadata"].get("continue") or "")
        if not token:
            return


async def _watch(
    session: Session, resource: Resource, selector: dict[str, str], version: str
) -> AsyncGenerator[tuple[str, JSON], None]:
    """What happens after `version`, bookmarks included, until the server ends the watch."""
    params = {**selector, "resourceVersion": version, "allowWatchBookmarks": "true"}
    async with session.client.watch(
        resource, session.namespace, params=params, timeout_seconds=WATCH_TIMEOUT_SECONDS
    ) as stream:
        async for event in stream:
            if event.get("type") == "ERROR":
                raise APIStatusError.from_status(event.get("object") or {})
            yield str(event.get("type")), event.get("object") or {}


def _passes(error: ClientError) -> bool:
    """Whether it makes sense to ask again."""
    if isinstance(error, TransportError):
        return True
    if not isinstance(error, APIStatusError):
        return False
    return is_expired(error) or is_too_many_requests(error) or error.code >= 500
