"""What is executed in Postgres, whoever sends it: SQLAlchemy, or psycopg alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest


@contextmanager
def executed() -> Iterator[list[tuple[str, bool]]]:
    """Yields the statements that this process executes while the block runs, each with whether it commits."""
    statements: list[tuple[str, bool]] = []
    execute = psycopg.Cursor.execute

    def noting(self: psycopg.Cursor, query: str | bytes, *rest: Any, **named: Any) -> psycopg.Cursor:
        text = query.decode() if isinstance(query, bytes) else query
        statements.append((text, self.connection.autocommit))
        return execute(self, query, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", noting)
        yield statements
