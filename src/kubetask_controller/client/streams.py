"""Answers that are read while they arrive: watches, and lists too large to hold."""

from collections.abc import Iterator
from typing import Any, Self

import aiohttp
from pydantic_core import from_json

from kubetask_controller.client.errors import TransportError
from kubetask_controller.client.jsonstream import (
    ItemSplitter,
    LineSplitter,
    MalformedStreamError,
)
from kubetask_controller.client.shape import Decode
from kubetask_controller.client.transport import Call, translated

LINE_LIMIT = 8 * 1024 * 1024
"""Bytes of a watch event; etcd refuses objects over 1.5 MiB, aggregated servers may not."""


class WatchStream:
    """The events of a watch, as ``{"type": …, "object": …}``, until the server closes the stream.

    Events that came in one piece are given without yielding to the event loop between them.
    """

    def __init__(
        self, call: Call, response: aiohttp.ClientResponse, *, decode: Decode = from_json
    ) -> None:
        self._call = call
        self._content = response.content
        self._decode = decode
        self._splitter = LineSplitter(limit=LINE_LIMIT)
        self._lines: Iterator[bytes] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next event.

        Raises:
            TransportError: the stream broke, was silent for too long, or holds no JSON.
        """
        while True:
            for line in self._lines:
                return self._event(line)
            with translated(self._call):
                data = await self._content.readany()
            if not data:
                raise StopAsyncIteration
            try:
                self._lines = iter(self._splitter.feed(data))
            except MalformedStreamError as error:
                raise TransportError(f"{self._call}: {error}") from error

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = self._decode(line)
        except ValueError as error:
            raise TransportError(f"{self._call}: a watch event cannot be read: {error}") from error
        if not isinstance(event, dict):
            raise TransportError(f"{self._call}: a watch event is not an object")
        return event


class ListStream:
    """The items of a list, one by one; `metadata` is whole once the iteration has ended."""

    def __init__(self, call: Call, response: aiohttp.ClientResponse) -> None:
        self._call = call
        self._content = response.content
        self._splitter = ItemSplitter()
        self._items: Iterator[dict[str, Any]] = iter(())
        self._eof = False

    @property
    def metadata(self) -> dict[str, Any]:
        """``metav1.ListMeta``: resourceVersion, continue, remainingItemCount."""
        metadata = self._splitter.envelope.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next item.

        Raises:
            TransportError: the answer broke off, or is no list.
        """
        try:
            while True:
                for item in self._items:
                    return item
                if self._eof:
                    raise StopAsyncIteration
                with translated(self._call):
                    data = await self._content.readany()
                self._eof = not data
                self._splitter.feed(data, eof=self._eof)
                self._items = self._splitter.items()
        except (MalformedStreamError, UnicodeDecodeError) as error:
            raise TransportError(f"{self._call}: {error}") from error
