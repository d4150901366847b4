"""A pooled connection that is lent to psycopg alone comes back as it was, or not at all."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from storage.direct import direct
from storage.engine import autocommit, single
from tests.storage.making import Bench


def lent(engine: Engine) -> tuple[int, bool]:
    """Session and mode of whatever connection the next ordinary borrower has."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid, driver.autocommit


class Broken(BaseException):
    """As a thread's end is."""


def test_a_transaction_after_it_is_one_again(bench: Bench) -> None:
    """Whichever of the ways had the connection before, what is rolled back was not committed."""
    connection_id = bench.new()
    for _ in range(3):
        with direct(bench.engine) as connection:
            pid = connection.info.backend_pid
            assert connection.autocommit
        with single(autocommit(bench.engine)) as other:
            assert other.execute(text("SELECT pg_backend_pid()")).scalar_one() == pid
        assert lent(bench.engine) == (pid, False)
        with bench.engine.connect() as third:
            third.execute(text("UPDATE tokens SET failures = 7"))
            third.rollback()
    assert bench.column(connection_id, "failures") == 0


@pytest.mark.parametrize("error", [Broken, ValueError])
def test_an_error_of_the_callers_leaves_the_connection_as_it_was(
    bench: Bench, error: type[BaseException]
) -> None:
    before = lent(bench.engine)
    with pytest.raises(error), direct(bench.engine):
        raise error

    assert lent(bench.engine) == before


def test_a_statement_that_was_left_in_its_middle_takes_its_connection_along(bench: Bench) -> None:
    pid, _ = lent(bench.engine)

    def leave() -> None:
        with direct(bench.engine) as connection:
            connection.pgconn.send_query(b"SELECT pg_sleep(60)")
            raise Broken

    with pytest.raises(Broken):
        leave()

    assert lent(bench.engine)[0] != pid


def test_rows_that_came_before_their_connection_was_cut_are_kept(bench: Bench) -> None:
    """Their statement is committed: to call it failed would have it done again."""
    pid, _ = lent(bench.engine)
    with direct(bench.engine) as connection:
        rows = psycopg.RawCursor(connection).execute(b"SELECT 1").fetchall()
        connection.pgconn.finish()

    assert rows == [(1,)]
    assert lent(bench.engine)[0] != pid
    assert bench.engine.pool.status().endswith("Current Checked out connections: 0")
