"""Headers that every answer carries, and what may be logged of a request: neither query nor body, ever.

The callback's query holds state and code. Uvicorn's own access log would write them down, so it is off, and
this one writes the route's template instead of the path that was asked for.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from providers.toml_values import ID_PATTERN

log = structlog.get_logger(__name__)

#: Nothing is loaded from anywhere, nothing is framed, no form leads away. Pages add the hash of their style.
POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    # The address of the callback must not travel to where the browser goes next.
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", POLICY.encode()),
)
#: A year. Sent only where the public URL is https (RFC 6797 §7.2).
_BY_HTTPS: Final = (b"strict-transport-security", b"max-age=31536000")


class Headers:
    """Adds the headers that an answer has not set itself, and logs the request when it is over."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._added = (*_ALWAYS, _BY_HTTPS) if secure else _ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500

        async def adding(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message.get("headers", ())}
                missing = [(name, value) for name, value in self._added if name not in given]
                message["headers"] = [*message.get("headers", ()), *missing]
            await send(message)

        try:
            await self._app(scope, receive, adding)
        finally:
            _write(scope, status, time.monotonic() - began)


def _write(scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    route = scope.get("route")
    path = getattr(route, "path", "(no route)")
    named = str(scope.get("path_params", {}).get("provider_id", ""))
    if path in ("/healthz", "/readyz"):
        # Asked every few seconds by whoever watches over us.
        return
    log.info(
        "request", method=scope["method"], route=path, status=status, milliseconds=round(seconds * 1000, 1),
        # What stands in an id's place and is none may be anything.
        provider=named if ID_PATTERN.fullmatch(named) else None,
    )  # fmt: skip
