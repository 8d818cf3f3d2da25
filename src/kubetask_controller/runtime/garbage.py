"""The garbage collector while caches fill, and once they are full.

What a cache holds lives as long as the process. A full collection looks at all of it: with 50,000 Jobs for a third of a
second, in which no Lease is renewed, and several times while the caches fill. So the collector rests until they are full,
and never looks at what is there by then.
"""

import asyncio
import gc

import structlog

logger = structlog.get_logger("garbage")


class GarbageFreeze:
    """Runs once the caches are full: a runnable that needs no lead. The process starts with ``gc.disable()``."""

    name = "garbage"

    async def run(self, stop: asyncio.Event) -> None:
        """Exempt all objects of the process from collection, and let the collector work."""
        gc.freeze()
        gc.enable()
        logger.debug("Objects are exempt from garbage collection", count=gc.get_freeze_count())
