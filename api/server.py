"""Serving the application with uvicorn, until somebody says stop."""

from __future__ import annotations

import signal
from typing import Final, NoReturn

import uvicorn
from starlette.types import ASGIApp

#: Requests under way when the process is asked to stop may finish: an exchange, an account's request, a
# commit.
GRACE_SECONDS: Final = 60


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, and leave by `SystemExit` with status 0 then."""
    # When it has ended, uvicorn raises the signal anew for whoever was to hear it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        # One protocol, one loop, whatever else is installed: what is tested is what runs.
        http="h11",
        loop="asyncio",
        ws="none",
        # It would write queries; `api.headers` writes what may be written, through the process' own log.
        access_log=False,
        log_config=None,
        server_header=False,
        # Nothing depends on the caller's address, so nobody is believed about it.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=20,
    )
    uvicorn.Server(config).run()


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)
