"""Real Postgres and Redis for tests: one of each for a session, a fresh database for each test."""

from __future__ import annotations

import importlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from psycopg import sql

from tests.support.abandoned import remove_data_folder, session_folder
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.embedded.unprivileged import hand_over, server_account
from workers.supervision.child import Child
from workers.supervision.claim import ClaimedFolder

PATIENCE = timedelta(seconds=60)
_REDIS_DATABASES = itertools.cycle(range(1, 16))


@pytest.fixture(scope="session")
def suite_folder() -> Iterator[ClaimedFolder]:
    """The session's own claimed folder; what runs on it ends with it, or when the next session starts."""
    with session_folder() as claimed:
        yield claimed


@pytest.fixture
def data_folder(suite_folder: ClaimedFolder) -> Iterator[DataFolder]:
    """A data folder that does not exist yet; whatever runs on it at the end of the test is killed."""
    path = suite_folder.path / "folders" / secrets.token_hex(4)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    yield DataFolder(path)
    remove_data_folder(path)


@pytest.fixture(scope="session")
def postgres_server(suite_folder: ClaimedFolder) -> Iterator[EmbeddedPostgres]:
    """A running Postgres. It does not wait for the disk: tests of durability start one of their own."""
    folder = DataFolder(suite_folder.path)
    server = EmbeddedPostgres(folder)
    server.prepare()
    local = folder.postgres / "local.conf"
    local.write_text("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n", encoding="ascii")
    hand_over(local, server_account(folder.postgres))
    child = Child.start(server.spec(), suite_folder)
    try:
        server.wait_ready(PATIENCE)
        yield server
    finally:
        child.stop()


@pytest.fixture(scope="session")
def redis_server(suite_folder: ClaimedFolder) -> Iterator[EmbeddedRedis]:
    """A running Redis."""
    server = EmbeddedRedis(DataFolder(suite_folder.path))
    server.prepare()
    child = Child.start(server.spec(), suite_folder)
    try:
        server.wait_ready(PATIENCE)
        yield server
    finally:
        child.stop()


def database_named(url: str, name: str) -> str:
    """Give the URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def create_database(url: str, name: str, *, template: str = "template1") -> str:
    """Create a database beside the one of `url`, and give its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return database_named(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database whoever is connected to it."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))

    def dropped() -> bool:
        try:
            connection.execute(drop)
        except psycopg.errors.InsufficientPrivilege:
            # An autovacuum worker is in it, which is the superuser's and which we may not end.
            return False
        return True

    with psycopg.connect(url, autocommit=True) as connection:
        eventually(dropped, what=f"{name} is dropped")


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"test_{secrets.token_hex(6)}"
    yield create_database(postgres_server.url, name)
    drop_database(postgres_server.url, name)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database that was migrated once, to be copied and never connected to."""
    name = "migrated_template"
    url = create_database(postgres_server.url, name)
    upgrade = cast("Callable[[str], None]", importlib.import_module("storage.migrate").upgrade)
    upgrade(url)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        # A connection that somebody kept would make every copy fail.
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend'",
            (name,),
        )
    return name


@pytest.fixture
def migrated_database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a new database at the newest schema version, without a row of ours."""
    name = f"test_{secrets.token_hex(6)}"
    yield create_database(postgres_server.url, name, template=migrated_template)
    drop_database(postgres_server.url, name)


def empty_redis_database(server: EmbeddedRedis) -> str:
    """Give the URL of an empty Redis database that none of the last fourteen callers was given."""
    url = database_named(server.url, str(next(_REDIS_DATABASES)))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of an empty Redis database that no test of the last fourteen used."""
    return empty_redis_database(redis_server)


def read_logs(folder: Path) -> str:
    """Read everything that the processes of a data folder wrote."""
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("logs/*"))
    )
