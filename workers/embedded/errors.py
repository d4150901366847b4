"""What can keep an embedded server from running."""

from __future__ import annotations

from pathlib import Path

from domain.errors import ConfigurationError, ServiceUnavailable


class ServerMissing(ConfigurationError):
    """There is no usable program of this server on the machine; the message says what to install."""


class NotPrepared(ServiceUnavailable):
    """The data folder holds no such server yet."""

    def __init__(self, server: str, folder: Path) -> None:
        super().__init__(
            f"there is no embedded {server} under {folder}; start it with `evergrant up`, or set "
            "EVERGRANT_DATABASE_URL and EVERGRANT_REDIS_URL to servers of your own"
        )


class PreparationFailed(ServiceUnavailable):
    """A server's own tool failed; the message carries its last words."""
