"""What a reflector lists and watches: one resource, in one namespace or all, perhaps by selector."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from kubetask_controller.client import Client, Resource
from kubetask_controller.client.shape import Decode
from kubetask_controller.runtime.store import ALL_NAMESPACES

JSON = dict[str, Any]
Params = Mapping[str, str]


class ListPage(Protocol):
    """A list answer, item by item."""

    @property
    def metadata(self) -> JSON:
        """``metav1.ListMeta``; whole once all items have been taken."""

    def __aiter__(self) -> AsyncIterator[JSON]: ...


class ListerWatcher(Protocol):
    """The server, as a reflector sees it. Everything may raise ClientErrors."""

    def list(self, params: Params) -> AbstractAsyncContextManager[ListPage]:
        """One page of a list."""

    def watch(
        self, params: Params, *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        """Watch events, ERROR events included, until the server closes the stream."""


@dataclass(frozen=True, slots=True)
class ListWatch:
    """The real server."""

    client: Client
    resource: Resource
    namespace: str = ALL_NAMESPACES
    label_selector: str = ""
    field_selector: str = ""
    decode: Decode = from_json

    def list(self, params: Params) -> AbstractAsyncContextManager[ListPage]:
        """One page of a list, read while it arrives."""
        return self.client.list_stream(
            self.resource, self.namespace or None, params=self._selected(params)
        )

    def watch(
        self, params: Params, *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[JSON]]:
        """A watch that ends by itself when it has been silent for too long."""
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
