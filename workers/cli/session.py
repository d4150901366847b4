"""What most commands begin with: settings, servers, and the services on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services import settings as service_settings
from services.settings import Settings
from services.wiring import Servers, Services, wire
from workers import logs
from workers.deployment import resolve
from workers.embedded.layout import DataFolder
from workers.up.demo import variables


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
    settings, environment = with_demo(settings)
    wired = wire(settings, servers, environment, role=role, threads=threads)
    try:
        yield wired
    finally:
        wired.close()


def with_demo(settings: Settings) -> tuple[Settings, Mapping[str, str]]:
    """Return the settings and the environment; in a demo's folder with the demo's providers, as its workers
    have them, so that a command there rules on and revokes what they refresh.
    """
    environment = service_settings.environment()
    demo = {} if settings.database_url is not None else variables(DataFolder(settings.data_dir))
    if not demo:
        return settings, environment
    file = Path(demo["EVERGRANT_PROVIDERS_FILE"])
    return settings.model_copy(update={"providers_file": file}), {**environment, **demo}
