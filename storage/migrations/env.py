"""Runs migrations over the connection that `storage.migrate` passes in; there is no other way to run them."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from storage.schema import metadata

#: A migration that cannot have its lock within seconds would make every worker queue behind it.
LOCK_TIMEOUT = "5s"
#: Long enough to build an index over some ten million rows, short enough to end one day.
STATEMENT_TIMEOUT = "15min"


def _run(connection: Connection) -> None:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])
