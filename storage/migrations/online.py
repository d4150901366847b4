"""Changes of tables with millions of rows: nobody who works has to wait, and an interrupted run is repeated.

What is done here stands at once, before its migration's version does. So everything in such a migration must
bear being done again by the next run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from alembic import op
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

#: Such work may take as long as it needs: it holds no lock that a worker wants.
_SETTINGS: Final = {
    # Waiting for transactions that began earlier, which keeps nobody from writing.
    "lock_timeout": "0",
    "statement_timeout": "6h",
    # A run that was killed must not build on for nobody, or the next one would wait for it.
    "client_connection_check_interval": "2s",
}
_FIRST: Final = "00000000-0000-0000-0000-000000000000"
#: The last row of the next batch of tokens.
_UPTO: Final = text("""
    SELECT connection_id
      FROM (SELECT connection_id FROM tokens
             WHERE connection_id > :after ORDER BY connection_id LIMIT :rows) AS batch
     ORDER BY connection_id DESC LIMIT 1
""")


@contextmanager
def online() -> Iterator[Connection]:
    """Give a connection on which each statement is a transaction of its own; commits what came before."""
    failed: DBAPIError | None = None
    try:
        with op.get_context().autocommit_block():
            connection = op.get_bind()
            before = {
                name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
                for name in _SETTINGS
            }
            _set(connection, _SETTINGS)
            try:
                yield connection
            except DBAPIError as error:
                failed = error
                raise
            # Not after a failure: the run ends with it, and its session.
            _set(connection, before)
    except PendingRollbackError:
        # Of a session that was lost Alembic's block complains on its way out, instead of what has happened.
        if failed is None:
            raise
        raise failed from None


def _set(connection: Connection, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        parameters = {"name": name, "value": value}
        connection.execute(text("SELECT set_config(:name, :value, false)"), parameters)


def create_index(
    connection: Connection, name: str, table: str, columns: list[str], *, where: str | None = None
) -> None:
    """Build an index while others write to its table.

    A run that was interrupted leaves an index that is kept up and never used. It is dropped and built anew.

    Args:
        connection: From `online`.
    """
    valid = connection.execute(
        text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": name}
    ).scalar_one_or_none()
    if valid is False:
        op.drop_index(name, table_name=table, postgresql_concurrently=True)
    if not valid:
        op.create_index(
            name,
            table,
            columns,
            unique=False,
            postgresql_concurrently=True,
            postgresql_where=None if where is None else text(where),
        )


def update_tokens(connection: Connection, statement: TextClause, *, rows: int = 10_000) -> None:
    """Carry out an update of many tokens in statements that each look at a bounded number of them.

    Args:
        connection: From `online`.
        statement: Bounded by `connection_id > :after AND connection_id <= :upto`.
        rows: How many each looks at; their locks are held for as long.
    """
    after: object = _FIRST
    while True:
        upto = connection.execute(_UPTO, {"after": after, "rows": rows}).scalar_one_or_none()
        if upto is None:
            return
        connection.execute(statement, {"after": after, "upto": upto})
        after = upto
