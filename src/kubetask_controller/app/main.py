"""The console script ``kubetask-controller``: one process, from its flags to its exit code.

Exit codes: 0 after a signal and an orderly end; 1 where it could not start, lost its Lease or a part of it failed; 2 for
flags that are not understood. A second signal ends it at once, with 130 or 143.
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
"""Objects as JSON are many containers without cycles: with CPython's own thresholds half of the time of reading a watch event
goes into looking for garbage. Until the caches are full the collector rests, see ``runtime.garbage``."""

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
        logger.error("The controller has failed", exc_info=error)
        return 1
    return 0
