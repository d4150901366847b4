"""The shared fixtures themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.abandoned import PLACE
from tests.support.supervised import CHECKOUT
from workers.supervision.identity import identity_of

pytestmark = pytest.mark.servers
_HELD_OPEN = """\
from tests.support.abandoned import session_folder
from workers.supervision.child import Child
from workers.supervision.spec import ProcessSpec

with session_folder() as claimed:
    child = Child.start(ProcessSpec(name="server", argv=["/bin/sleep", "1000"], env={}), claimed)
    print(child.pid, claimed.path, flush=True)
    input()  # what still runs when the session ends is stopped with it
"""


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_database(database_url: str, redis_url: str, turn: int) -> None:
    """What one test writes, the next one does not see."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchone()
        connection.execute("CREATE TABLE mine (turn integer)")
        connection.execute("INSERT INTO mine VALUES (%s)", (turn,))
    with redis.Redis.from_url(redis_url) as client:
        keys = client.dbsize()
        client.set("mine", turn)

    assert tables == (0,)
    assert keys == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_migrated_database(migrated_database_url: str, turn: int) -> None:
    """A migrated database is at a schema version, and what one test writes, the next one does not see."""
    with psycopg.connect(migrated_database_url) as connection:
        versions = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
        mine = connection.execute("SELECT to_regclass('mine')").fetchone()
        connection.execute("CREATE TABLE mine (turn integer)")

    assert versions == (1,)
    assert mine == (None,)


def test_a_killed_session_is_cleared_by_the_next_one() -> None:
    """What a killed session left running is stopped and its folder removed when another session begins; a
    living session is left alone."""
    killed = _begin_session()
    living = _begin_session()
    try:
        os.kill(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
        assert identity_of(killed.server)
        with _begin_session().process as next_one:
            next_one.communicate("\n", timeout=60)

        assert identity_of(killed.server) is None
        assert not killed.folder.exists()
        assert identity_of(living.server)
        assert living.folder.parent == PLACE
    finally:
        for session in (killed, living):
            session.process.kill()
            session.process.communicate()
    with _begin_session().process as cleaner:
        cleaner.communicate("\n", timeout=60)
    assert not living.folder.exists()


class _Session:
    def __init__(self, process: subprocess.Popen[str], server: int, folder: Path) -> None:
        self.process = process
        self.server = server
        self.folder = folder


def _begin_session() -> _Session:
    process = subprocess.Popen(
        [sys.executable, "-c", _HELD_OPEN],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    server, folder = process.stdout.readline().split(maxsplit=1)
    return _Session(process, int(server), Path(folder.strip()))
