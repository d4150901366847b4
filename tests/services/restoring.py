"""Databases that are put back to an older state, the ways in which that happens."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from domain.asks import Outcome
from services.restore.marks import FILE, REDIS_KEY
from services.wiring import Services
from tests.services.world import Connected, World
from tests.support.servers import PATIENCE, create_database, drop_database
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.unprivileged import hand_over, server_account
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder

_TABLES = ("connections", "tokens", "activity", "deployment", "alerts", "alert_events")


class OwnPostgres:
    """A server of a test's own, whose files can be put back while it is stopped."""

    def __init__(self, folder: DataFolder, claimed: object) -> None:
        self._folder, self._claimed = folder, claimed
        self._backup = folder.path / "backup"
        self._server = EmbeddedPostgres(folder)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.prepare()
        self._child = Child.start(self._server.spec(), self._claimed)  # type: ignore[arg-type]  # as claimed
        self._server.wait_ready(PATIENCE)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def back_up(self) -> None:
        """Copy the files of the stopped server, owners and all."""
        self.stop()
        _copy(self._folder.postgres, self._backup)
        self.start()

    def put_back(self) -> None:
        """Put the copy in the place of what has become of it since."""
        self.stop()
        shutil.rmtree(self._folder.postgres)
        _copy(self._backup, self._folder.postgres)
        self.start()

    def become_standby(self) -> None:
        """Start anew as a standby, as one that has lost its primary."""
        self.stop()
        self._signal_file("standby.signal")
        self.start()

    def promote(self) -> None:
        """Make it a primary, on a timeline of its own; no connection is cut."""
        assert self._child is not None
        self._signal_file("promote")
        self._child.send(signal.SIGUSR1)

    def _signal_file(self, name: str) -> None:
        path = self._folder.postgres / name
        path.touch()
        hand_over(path, server_account(self._folder.postgres))


def _copy(folder: Path, to: Path) -> None:
    """As `shutil.copytree`, which would lose whose the files are."""
    subprocess.run(["/bin/cp", "-a", str(folder), str(to)], check=True)


@contextmanager
def own_postgres(folder: DataFolder) -> Iterator[OwnPostgres]:
    with claim_folder(folder.path) as claimed:
        server = OwnPostgres(folder, claimed)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def keep_rows(world: World, under: str = "kept") -> None:
    """Remember every row, inside the database."""
    with psycopg.connect(world.database_url) as connection:
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {under}_{table}".encode())
            connection.execute(f"CREATE TABLE {under}_{table} AS TABLE {table}".encode())


def put_rows_back(world: World, under: str = "kept") -> None:
    """Overwrite the database in place with the rows that were kept; no connection is cut."""
    with psycopg.connect(world.database_url) as connection:
        for table in reversed(_TABLES):
            connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - tests' own words
        for table in _TABLES:
            connection.execute(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {under}_{table}".encode()  # noqa: S608 - tests' own words
            )


@contextmanager
def copied_database(world: World) -> Iterator[str]:
    """A copy of the world's database under another name, as a restored dump is one."""
    name = f"test_{secrets.token_hex(6)}"
    for services in world.wired:
        services.engine.dispose()
    try:
        yield create_database(world.database_url, name, template=urlsplit(world.database_url).path[1:])
    finally:
        drop_database(world.database_url, name)


def forget_file(data_dir: Path) -> None:
    (data_dir / FILE).unlink(missing_ok=True)


def forget_redis(world: World) -> None:
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(REDIS_KEY)


def another_process(world: World, **order: object) -> Services:
    """A process that looks once a second, as a worker does."""
    services = world.wire(**order)  # type: ignore[arg-type]  # as `World.wire` takes them
    services.watch.start()
    return services


def withheld(world: World, connected: Connected, services: Services) -> bool:
    """Ask for a refresh that is due; says whether the guard has answered, or else it was presented."""
    before = world.presented(connected)
    result = world.refresh(connected, services=services)
    if result.code == "restore_guard":
        assert (result.outcome, world.presented(connected)) == (Outcome.DEFERRED, before)
        return True
    assert world.presented(connected) == before + 1
    return False


def grown_old(world: World) -> tuple[Connected, Services]:
    """A strict connection that was refreshed after its rows were kept, and the process that did it."""
    worker = another_process(world)
    connected = world.connect("strict")
    keep_rows(world)
    assert not withheld(world, connected, worker)
    line = world.rows("SELECT max(id) AS id FROM activity")[0]["id"]
    eventually(lambda: [mark.line >= line for mark in worker.outside.read().values()] == [True, True])
    return connected, worker
