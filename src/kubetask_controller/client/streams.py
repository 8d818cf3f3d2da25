"""Answers that are parsed while they arrive: watches, and lists too large to hold."""

from collections.abc import Callable, Iterator
from typing import Any, Self, TypedDict, cast

import aiohttp
import msgspec
from pydantic_core import from_json

from kubetask_controller.client.errors import TransportError
from kubetask_controller.client.jsonstream import (
    ItemSplitter,
    LineSplitter,
    MalformedStreamError,
)
from kubetask_controller.client.resources import Resource
from kubetask_controller.client.transport import Call, translated
from kubetask_controller.types import JSON

LINE_LIMIT = 8 * 1024 * 1024
"""Bytes of a watch event; etcd refuses objects over 1.5 MiB, aggregated servers may not."""
_OBJECT_EVENTS = frozenset({"ADDED", "MODIFIED", "DELETED"})
Decode = Callable[[bytes], Any]
"""Parses a JSON document. Raises ValueError where it is none."""
PartialType = type[Any]
"""A TypedDict with the fields of an object that a caller reads."""


def event_decoder(partial: PartialType | None) -> Decode:
    """A parser of watch events whose objects have these fields; None parses all fields.

    A Pod is 10 to 20 KB of JSON, of which a controller reads a tenth. Parsed completely it becomes hundreds of Python objects
    that are dropped at once; the fields that `partial` lacks are skipped. An event that does not match is parsed completely:
    the Status of an ERROR event, a null instead of a string.
    """
    if partial is None:
        return from_json
    event = TypedDict("event", {"type": str, "object": partial})  # type: ignore[valid-type]  # noqa: UP013
    slim = msgspec.json.Decoder(cast(Any, event))

    def decode(line: bytes) -> Any:
        try:
            found = slim.decode(line)
        except msgspec.DecodeError:
            return from_json(line)
        # A bookmark marks the end of a streamed list by an annotation, and an ERROR is a Status.
        return found if found["type"] in _OBJECT_EVENTS else from_json(line)

    return decode


class WatchStream:
    """The events of a watch, as ``{"type": …, "object": …}``, until the server closes the stream.

    Events that arrive in one piece are returned without yielding to the event loop in between.
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

    async def __anext__(self) -> JSON:
        """The next event.

        Raises:
            TransportError: the stream broke, was silent for too long, or contains no JSON.
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

    def _event(self, line: bytes) -> JSON:
        try:
            event = self._decode(line)
        except ValueError as error:
            raise TransportError(
                f"{self._call}: a watch event cannot be parsed: {error}"
            ) from error
        if not isinstance(event, dict):
            raise TransportError(f"{self._call}: a watch event is not an object")
        return event


class ListStream:
    """The items of a list, one by one; `metadata` is complete after the last item.

    The API server omits apiVersion and kind in the items of built-in kinds; they are added.
    """

    def __init__(self, call: Call, response: aiohttp.ClientResponse, resource: Resource) -> None:
        self._call = call
        self._type = {"apiVersion": resource.api_version, "kind": resource.kind}
        self._content = response.content
        self._splitter = ItemSplitter()
        self._items: Iterator[JSON] = iter(())
        self._eof = False

    @property
    def metadata(self) -> JSON:
        """``metav1.ListMeta``: resourceVersion, continue, remainingItemCount."""
        metadata = self._splitter.envelope.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JSON:
        """The next item.

        Raises:
            TransportError: the answer ended early, or is no list.
        """
        try:
            while True:
                for item in self._items:
                    return {**self._type, **item}
                if self._eof:
                    raise StopAsyncIteration
                with translated(self._call):
                    data = await self._content.readany()
                self._eof = not data
                self._splitter.feed(data, eof=self._eof)
                self._items = self._splitter.items()
        except (MalformedStreamError, UnicodeDecodeError) as error:
            raise TransportError(f"{self._call}: {error}") from error
