"""Structured logs: JSON for machines, columns for people, client-go's keys in both.

One line a record, on stderr. What is bound around a reconcile (see controller.py) stands in every line written inside of
it, whoever writes it. Standard-library loggers (aiohttp, asyncio) come out the same way. Does not write files or rotate.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

Format = Literal["json", "console"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logging(*, level: str = "info", format: str = "json") -> None:
    """Set up logging for the whole process.

    Raises:
        ValueError: an unknown level or format.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}; one of {', '.join(LEVELS)}")
    if format not in ("json", "console"):
        raise ValueError(f"unknown log format {format!r}; json or console")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    # Tracebacks are plain: local variables, which other formatters show, hold tokens and Secrets' content.
    last: list[Processor]
    if format == "json":
        last = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(),
        ]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                timestamp_key="ts",
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    # Its "Using selector" at debug and access lines say nothing about the controller.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
