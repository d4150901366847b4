"""Structured logs: one event a line, constant names, fields as keywords, never a secret."""

from __future__ import annotations

import logging
import sys

import structlog

from services.settings import Settings

#: Libraries that log every message or request at INFO: thousands of lines a minute that say nothing new.
#: `httpx2` would also log URLs, and a health check's URL may carry what it must.
_QUIET = (
    "celery.app.trace",
    "celery.worker.strategy",
    "celery.beat",
    "celery.utils.functional",
    "httpx2",
    "httpcore2",
    "kombu",
    "alembic",
)


def configure(settings: Settings, *, quiet: bool = False) -> None:
    """Send our events and the libraries' records to standard error, as JSON or for people.

    Args:
        quiet: Warnings at most, for a command that says in words of its own what it has done.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    if quiet:
        level = max(level, logging.WARNING)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    # Looked up for every record, twice where our formatter makes a record of its own; it writes none of them.
    # (Python's logging HOWTO, "Optimization".)
    logging._srcfile = None  # noqa: SLF001 - the documented switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
