"""The console script ``kubetask-controller``: from flags to exit code.

Exit codes: 0 after a signal and an orderly stop; 1 when it could not start, lost its Lease, or a part failed; 2 for invalid
flags. A second signal ends it at once, with 130 or 143.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence

import structlog

from kubetask_controller.app.options import Options, parse
from kubetask_controller.app.wiring import run
from kubetask_controller.client.errors import ClientError
from kubetask_controller.runtime.log import configure_logging

GC_THRESHOLD = (20_000, 20, 50)
"""A JSON object consists of many containers without cycles: with CPython's defaults the garbage collector takes half of the
time of parsing a watch event. Until the caches are full the collector is off, see ``GarbageFreeze``."""

logger = structlog.get_logger("setup")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until a signal; does not return."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    gc.set_threshold(*GC_THRESHOLD)
    gc.disable()
    configure_logging(level=options.log_level, format=options.log_format)
    sys.exit(asyncio.run(_run(options)))


async def _run(options: Options) -> int:
    try:
        await run(options)
    except ClientError as error:
        logger.error("Cannot reach the API server", error=str(error))
        return 1
    except Exception as error:
        logger.error("Controller failed", exc_info=error)
        return 1
    return 0
