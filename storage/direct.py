"""Statements of the hot path: written with SQLAlchemy, compiled once, and run by psycopg alone.

What SQLAlchemy does around each execution (a connection of its own, a context, a result) cost as much of the
client's time as psycopg and the network together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from storage.engine import OUTDATED, reachable

_DIALECT: Final = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # SQLAlchemy's


class Direct:
    """One statement. Each session prepares it once."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = cast("SQLCompiler", statement.compile(dialect=_DIALECT))
        #: As Postgres is sent it.
        self.text = str(compiled)
        self._encoded = self.text.encode()
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())

    def run(
        self, connection: psycopg.Connection[Any], parameters: Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        """Run it and return its rows."""
        cursor = psycopg.RawCursor(connection)
        cursor.execute(self._encoded, [parameters[name] for name in self.names], prepare=True, binary=True)
        return cursor.fetchall()


@contextmanager
def direct(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    """Take a connection out of the engine's pool for statements that each commit by themselves.

    Raises:
        ServiceUnavailable: As `storage.engine.transaction`.
    """
    with reachable():
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        usable = True
        try:
            connection.autocommit = True
            yield connection
        except OUTDATED:
            usable = False
            raise
        finally:
            # Cut, or left in the middle of a statement: nobody else may have it. Whoever has his rows by then
            # keeps them: they are committed.
            if usable and connection.pgconn.transaction_status == TransactionStatus.IDLE:
                connection.autocommit = False
            else:
                pooled.invalidate()
            pooled.close()
