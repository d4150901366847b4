"""Migrations of big tables: workers write meanwhile, and a run that was interrupted is finished later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import text

from domain.errors import ServiceUnavailable
from storage import migrate
from storage.engine import autocommit, make_engine
from storage.migrations.online import update_tokens
from tests.support.waiting import eventually

_ROWS = """
    WITH made AS (
         INSERT INTO connections (id, user_id, provider_id)
         SELECT gen_random_uuid(), n::text, 'acme' FROM generate_series(1, 30) AS n RETURNING id, user_id)
    INSERT INTO tokens (connection_id, provider_id, grant_id, key_id, access_token, expires_at, refreshable)
    SELECT id, 'acme', gen_random_uuid(), 'k1', '\\x00',
           CASE WHEN user_id::int % 3 > 0 THEN now() + interval '1 day' END, user_id::int % 2 = 0
      FROM made
"""
_ENDS_KNOWN = "SELECT count(*) FROM tokens WHERE dies_at = expires_at AND NOT refreshable"
_BUILDING = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY %' AND state = 'active'
       AND wait_event_type = 'Lock'
"""
_INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


def value(url: str, query: str) -> int | None:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else int(row[0])


@pytest.fixture
def before(database_url: str) -> str:
    """A database of the schema before the indexes, with tokens that can be refreshed and others."""
    migrate.upgrade(database_url, revision="0003")
    with psycopg.connect(database_url) as connection:
        connection.execute(_ROWS)
    return database_url


@contextmanager
def somebody_reading(url: str) -> Iterator[None]:
    """A transaction with a snapshot: an index that is built while others write waits for its end."""
    with psycopg.connect(url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")
        yield
        reader.rollback()


def index_is_waiting(url: str) -> int | None:
    return eventually(lambda: value(url, _BUILDING))


def test_workers_write_while_indexes_are_built(before: str) -> None:
    """However long it takes: it waits for them, and they do not wait for it."""
    with ThreadPoolExecutor(1) as pool:
        with somebody_reading(before):
            running = pool.submit(migrate.upgrade, before)
            index_is_waiting(before)
            with psycopg.connect(before, autocommit=True) as another:
                another.execute("SET lock_timeout = '1s'")
                another.execute("UPDATE tokens SET failures = 1")
                another.execute("UPDATE connections SET updated_at = now()")
            assert not running.done()
        running.result()

    assert migrate.drift(before) == []
    assert value(before, _ENDS_KNOWN) == 10
    assert value(before, "SELECT count(*) FROM tokens WHERE dies_at IS NOT NULL") == 10


def test_a_run_that_was_interrupted_is_finished_by_the_next(before: str) -> None:
    """It leaves an index that is not valid; until it is made anew, no process starts on that schema."""
    with ThreadPoolExecutor(1) as pool, somebody_reading(before):
        running = pool.submit(migrate.upgrade, before)
        value(before, f"SELECT pg_terminate_backend({index_is_waiting(before)})::int")
        with pytest.raises(ServiceUnavailable, match="the next run goes on"):
            running.result()
    assert value(before, _INVALID) == 1
    engine = make_engine(before)
    with pytest.raises(migrate.SchemaNotReady, match=r"'0003', older than .*evergrant migrate"):
        migrate.check_schema(engine)

    migrate.upgrade(before)

    migrate.check_schema(engine)
    engine.dispose()
    assert value(before, _INVALID) == 0
    assert migrate.drift(before) == []


def test_a_run_that_was_killed_builds_on_for_nobody(before: str) -> None:
    """Its session ends, although it waits, and gives the next run its turn."""
    program = "import os; from storage.migrate import upgrade; upgrade(os.environ['AT'])"
    with somebody_reading(before):
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, env={**os.environ, "AT": before}) as process:
            index_is_waiting(before)
            process.send_signal(signal.SIGKILL)
        eventually(lambda: value(before, _BUILDING) is None)

    migrate.upgrade(before)

    assert migrate.drift(before) == []


def test_whoever_waits_for_a_migration_does_not_hold_it_up(before: str) -> None:
    """An index waits for every snapshot, so that a second run inside a statement would wait for the first."""
    with ThreadPoolExecutor(3) as pool:
        with somebody_reading(before):
            running = [pool.submit(migrate.upgrade, before) for _ in range(3)]
            index_is_waiting(before)
        for each in running:
            each.result()

    assert migrate.drift(before) == []


def test_an_update_of_many_tokens_looks_at_a_few_at_a_time(migrated_database_url: str) -> None:
    """And at each of them once."""
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(_ROWS)
    statement = text(
        "UPDATE tokens SET failures = failures + 1 WHERE connection_id > :after AND connection_id <= :upto"
    )
    engine = make_engine(migrated_database_url)

    with autocommit(engine).connect() as connection:
        update_tokens(connection, statement, rows=7)

    engine.dispose()
    assert value(migrated_database_url, "SELECT count(*) FROM tokens WHERE failures = 1") == 30
    assert value(migrated_database_url, "SELECT count(DISTINCT xmin::text) FROM tokens") == 5
