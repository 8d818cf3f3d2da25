"""Listing in pages: client-go's pager.

Guarantees: pages after the first carry no resourceVersion, for the token has it; when the token
expires on the way, the list is read once more in one piece. Pages are not fetched ahead: reading one
keeps the processor busy, so nothing would be won.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from kubetask_controller.client.errors import APIStatusError, is_expired
from kubetask_controller.runtime.listwatch import ListerWatcher
from kubetask_controller.runtime.slicing import TimeSlices

PAGE_SIZE = 500
"""client-go's number; the server ignores it for what it serves from its watch cache."""


class Collector(Protocol):
    """Takes the items of a list."""

    def put(self, raw: dict[str, Any]) -> None:
        """One item."""

    def clear(self) -> None:
        """Forget all items: the list starts anew."""


@dataclass(frozen=True, slots=True)
class ListResult:
    """What is known of a list besides its items.

    Attributes:
        resource_version: of its first page, which is that of the whole list.
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
        into: gets the items; is cleared when the list has to be read anew.
        resource_version: not older than this; "" for the newest, "0" for whatever is at hand.
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


async def _page(source: ListerWatcher, into: Collector, params: dict[str, str]) -> dict[str, Any]:
    """Read one page; its metadata."""
    slices = TimeSlices()
    async with source.list(params) as page:
        async for item in page:
            into.put(item)
            if slices.used_up():
                await slices.rest()
        return page.metadata
