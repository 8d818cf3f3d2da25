"""Faults on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from devcluster.storage import Storage


class Faults:
    """Faults on demand (none yet configured)."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def before(self, request: web.Request, user: Any, info: Any) -> web.StreamResponse | None:
        return None

    async def after(
        self, request: web.Request, user: Any, info: Any, response: web.StreamResponse
    ) -> web.StreamResponse:
        return response

    def watch_hold(self, user: Any, request: web.Request) -> Callable[[], float | None] | None:
        """How long a watch holds events back, asked before each write; None for a watch without a fault."""
        return None

    async def admin(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({})
