"""`evergrant migrate`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.errors import ConfigurationError
from services.wiring import Servers
from storage.engine import make_engine
from storage.inspection import has_users_outside
from storage.migrate import upgrade
from workers import logs
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.output import stdout
from workers.up.demo import USER_PREFIX


def migrate(
    for_demo: Annotated[bool, typer.Option("--for-demo", hidden=True)] = False,
) -> None:
    """Bring the database's schema to this version; harmless when it is there."""
    settings, servers = session.load()
    logs.configure(settings)
    upgrade(servers.database_url)
    if for_demo and settings.database_url is not None:
        # The embedded one belongs to the demo's folder: whoever is in it was connected at the simulator.
        _refuse_real_connections(servers)
    stdout.print("the schema is up to date")


def _refuse_real_connections(servers: Servers) -> None:
    """Keep the demo away from real connections: their tokens would be presented to the simulator.

    Raises:
        ConfigurationError: The database holds connections that no demo made.
    """
    engine = make_engine(servers.database_url, pool_size=1, application_name="evergrant-migrate")
    try:
        if has_users_outside(engine, USER_PREFIX):
            raise ConfigurationError(
                "the database holds connections that are not the demo's, and the demo would present their "
                "tokens to its simulator; set EVERGRANT_DATA_DIR to another folder, and unset "
                "EVERGRANT_DATABASE_URL"
            )
    finally:
        engine.dispose()


app = single(migrate)
