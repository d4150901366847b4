"""Ports on 127.0.0.1."""

from __future__ import annotations

import errno
import secrets
import socket

from domain.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
# Below the range that Linux (32768 and up) and macOS (49152 and up) hand to outgoing connections. Inside
# that range a client that retries a dead server's port may be given that very port as its own, connects to
# itself, and keeps the server from ever listening again.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger in TIME_WAIT after a restart do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_port() -> int:
    """Find a free port outside the range of outgoing connections; somebody may still take it first."""
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if is_free(port):
            return port
    raise ConfigurationError(
        f"no free port on 127.0.0.1 between {_LOWEST} and {_HIGHEST} after {_TRIES} tries; "
        "set EVERGRANT_DATABASE_URL and EVERGRANT_REDIS_URL to servers of your own"
    )


def accepts_connections(port: int, *, timeout_seconds: float = 0.5) -> bool:
    """Say whether something on 127.0.0.1 accepts a TCP connection on `port` now."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False
