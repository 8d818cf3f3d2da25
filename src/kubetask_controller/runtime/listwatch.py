"""Listing and watching one resource, in one namespace or all, perhaps by selector; lists in pages as client-go's pager does.

Guarantees: pages after the first carry no resourceVersion, because the continue token contains it; when the token expires
between pages, the list is read once more in one piece. Pages are not prefetched: reading one uses the processor, so
prefetching would gain nothing.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic_core import from_json

from kubetask_controller.client import Client, Resource
from kubetask_controller.client.errors import APIStatusError, is_expired
from kubetask_controller.client.rest import Params
from kubetask_controller.client.streams import Decode
from kubetask_controller.runtime.eventloop import Yielder
from kubetask_controller.runtime.store import ALL_NAMESPACES
from kubetask_controller.types import JSON

PAGE_SIZE = 500
"""client-go's number; the server ignores it for lists from its watch cache."""


class ListPage(Protocol):
    """A page of a list, read item by item."""

    @property
    def metadata(self) -> JSON:
        """``metav1.ListMeta``; complete after the last item."""

    def __aiter__(self) -> AsyncIterator[JSON]: ...


class ListerWatcher(Protocol):
    """What a reflector needs of the API server. All methods may raise ClientErrors."""

    def list(self, params: Params) -> AbstractAsyncContextManager[ListPage]:
        """Request one page of a list."""

    def watch(
        self, params: Params, *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        """Request watch events, ERROR events included, until the server closes the stream."""


@dataclass(frozen=True, slots=True)
class ListWatch:
    """A ListerWatcher that sends its requests through a Client."""

    client: Client
    resource: Resource
    namespace: str = ALL_NAMESPACES
    label_selector: str = ""
    field_selector: str = ""
    decode: Decode = from_json

    def list(self, params: Params) -> AbstractAsyncContextManager[ListPage]:
        """Request one page of a list; it is parsed while it arrives."""
        return self.client.list_stream(
            self.resource, self.namespace or None, params=self._selected(params)
        )

    def watch(
        self, params: Params, *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        """Request a watch; it ends with a TransportError when the server is silent for too long."""
        return self.client.watch(
            self.resource,
            self.namespace or None,
            params=self._selected(params),
            timeout_seconds=timeout_seconds,
            decode=self.decode,
        )

    def _selected(self, params: Params) -> Params:
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {**params, **{name: text for name, text in selectors.items() if text}}


class Collector(Protocol):
    """Collects the items of a list."""

    def put(self, raw: JSON) -> None:
        """Add an item."""

    def clear(self) -> None:
        """Remove all items; the list starts over."""


@dataclass(frozen=True, slots=True)
class ListResult:
    """A list's metadata.

    Attributes:
        resource_version: of its first page, and so of the whole list.
        paginated: the server answered in more than one page.
    """

    resource_version: str
    paginated: bool


async def list_pages(
    source: ListerWatcher, into: Collector, *, resource_version: str, limit: int
) -> ListResult:
    """Read a whole list.

    Args:
        source: the server.
        into: receives the items; is cleared when the list is read again.
        resource_version: the least acceptable one; "" for the newest, "0" for any that the server has cached.
        limit: items a page, or 0 for one page.

    Raises:
        ClientError: the list could not be read; `into` holds a part of it.
    """
    start = {"resourceVersion": resource_version} if resource_version else {}
    metadata = await _page(source, into, {**start, **({"limit": str(limit)} if limit else {})})
    result = ListResult(metadata.get("resourceVersion") or "", bool(metadata.get("continue")))
    while token := metadata.get("continue"):
        try:
            metadata = await _page(source, into, {"limit": str(limit), "continue": token})
        except APIStatusError as error:
            if not is_expired(error):
                raise
            into.clear()
            metadata = await _page(source, into, start)
            return ListResult(metadata.get("resourceVersion") or "", result.paginated)
    return result


async def _page(source: ListerWatcher, into: Collector, params: dict[str, str]) -> JSON:
    """Read one page; returns its metadata."""
    yielder = Yielder()
    async with source.list(params) as page:
        async for item in page:
            into.put(item)
            if yielder.due():
                await yielder.pause()
        return page.metadata
