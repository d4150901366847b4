"""`evergrant migrate`: the schema."""

from __future__ import annotations

from storage.migrate import upgrade
from workers import logs
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.output import stdout


def migrate() -> None:
    """Bring the database's schema to this version; harmless when it is there."""
    settings, servers = session.load()
    logs.configure(settings)
    upgrade(servers.database_url)
    stdout.print("the schema is up to date")


app = single(migrate)
