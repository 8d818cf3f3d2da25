"""Watches objects: a list, then a watch, repeated.

Guarantees: every returned state existed; outages of the server are tolerated up to
MAX_OUTAGE_SECONDS. Intermediate states may be missing: after a lost watch, a new list returns the
current state.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from kubetask_controller.api.constants import Phase
from kubetask_controller.cli.exits import CliError, Exit
from kubetask_controller.cli.session import Session, Target
from kubetask_controller.client import APIStatusError, ClientError, Resource, TransportError
from kubetask_controller.client.errors import is_expired, is_too_many_requests
from kubetask_controller.types import JSON

MAX_OUTAGE_SECONDS = 120.0
"""Maximum duration of an outage of the server, in seconds."""
WATCH_TIMEOUT_SECONDS = 300.0
PAUSE = 1.0
"""Seconds between two connection attempts."""
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
    """Endless pairs of (ADDED | MODIFIED | DELETED | LISTED, object).

    After LISTED, objects that were not returned since the last LISTED no longer exist.

    Args:
        session: with the namespace; an empty one means all namespaces.
        resource: the resource to list and watch.
        selector: parameters of list and watch.
        lost: called at each transient failure; outages then have no time limit.

    Raises:
        ClientError: the server rejected a request, or its outage exceeded MAX_OUTAGE_SECONDS.
    """
    loop = asyncio.get_running_loop()
    last_response: float | None = None
    while True:
        try:
            version = ""
            async for page in _pages(session, resource, selector):
                version = str(page["metadata"].get("resourceVersion", ""))
                for item in page.get("items") or []:
                    yield "ADDED", item
            yield LISTED, {}
            last_response = loop.time()
            while version:
                # The server ends each watch after some time; the next one continues from there.
                ended = loop.time()
                async with aclosing(_watch(session, resource, selector, version)) as events:
                    async for kind, item in events:
                        last_response = loop.time()
                        metadata = item.get("metadata") or {}
                        version = str(metadata.get("resourceVersion") or version)
                        if kind != "BOOKMARK":
                            yield kind, item
                if loop.time() - ended < PAUSE:
                    await asyncio.sleep(PAUSE)
        except ClientError as error:
            if not _is_transient(error):
                raise
            if lost is not None:
                lost(error)
            elif last_response is None or loop.time() - last_response > MAX_OUTAGE_SECONDS:
                # A server that never responded indicates an error in the kubeconfig, not an outage.
                raise
        await asyncio.sleep(PAUSE)


async def states(session: Session, target: Target) -> AsyncGenerator[JSON, None]:
    """The endless states of an object.

    Raises:
        CliError: the object does not exist or was deleted, or the server rejected a request.
    """
    selector = {"fieldSelector": f"metadata.name={target.name}"}
    uid = ""
    present = False
    with session.explained(target):
        async with aclosing(changes(session, target.resource, selector)) as events:
            async for kind, item in events:
                if kind == LISTED:
                    # Objects of the list are ADDED; MODIFIED is of an earlier watch.
                    if not present:
                        raise _gone(session, target, deleted=bool(uid))
                    present = False
                    continue
                found = str(item.get("metadata", {}).get("uid", ""))
                if kind == "DELETED" or (uid and found != uid):
                    raise _gone(session, target, deleted=True)
                uid, present = found, present or kind == "ADDED"
                yield item


async def follow_task(
    session: Session, target: Target, show: Callable[[JSON], None], *, timeout: float | None
) -> JSON:
    """Show a Task whenever its phase or reason changes, until it has ended; returns its last state.

    Raises:
        CliError: it does not exist or was deleted, the server rejected a request, or the timeout expired.
    """
    seen: object = None
    try:
        async with asyncio.timeout(timeout):
            async with aclosing(states(session, target)) as found:
                async for task in found:
                    status = task.get("status") or {}
                    state = (status.get("phase"), status.get("reason"))
                    if state != seen:
                        seen = state
                        show(task)
                    if state[0] in (Phase.SUCCEEDED, Phase.FAILED):
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
    """The pages of a list."""
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
    """The events after `version`, including bookmarks, until the server ends the watch."""
    params = {**selector, "resourceVersion": version, "allowWatchBookmarks": "true"}
    async with session.client.watch(
        resource, session.namespace, params=params, timeout_seconds=WATCH_TIMEOUT_SECONDS
    ) as stream:
        async for event in stream:
            if event.get("type") == "ERROR":
                raise APIStatusError.from_status(event.get("object") or {})
            yield str(event.get("type")), event.get("object") or {}


def _is_transient(error: ClientError) -> bool:
    """Whether the request can be retried."""
    if isinstance(error, TransportError):
        return True
    if not isinstance(error, APIStatusError):
        return False
    return is_expired(error) or is_too_many_requests(error) or error.code >= 500
