"""What most commands begin with: settings, servers, and the services on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services import settings as service_settings
from services.settings import Settings
from services.wiring import Servers, Services, wire
from workers import logs
from workers.deployment import resolve


def load() -> tuple[Settings, Servers]:
    """Return the settings and where the servers are.

    Raises:
        ConfigurationError, ServiceUnavailable: Nothing can be done as things stand; the message says why.
    """
    settings = service_settings.load()
    return settings, resolve(settings)


@contextmanager
def services(role: str = "cli", *, threads: int = 2) -> Iterator[Services]:
    """Open the services for one command, and close them after it."""
    settings, servers = load()
    logs.configure(settings, quiet=True)
    wired = wire(settings, servers, service_settings.environment(), role=role, threads=threads)
    try:
        yield wired
    finally:
        wired.close()
