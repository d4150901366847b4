"""The embedded servers under a supervisor, through starts, ends and kills."""

from __future__ import annotations

import os
import signal
import socket

import psutil
import psycopg
import pytest
import redis

from domain.errors import ConfigurationError
from tests.support.kept import read_both, write_both
from tests.support.servers import PATIENCE, database_named
from tests.support.supervised import SupervisedRun
from tests.support.waiting import eventually
from workers.embedded.errors import NotPrepared
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder
from workers.supervision.identity import identity_of

pytestmark = pytest.mark.acceptance


def test_data_survives_a_restart(data_folder: DataFolder) -> None:
    """What was written is there after Ctrl-C and a new start, at the same addresses, with nothing running
    in between."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        pids = first.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        addresses = (EmbeddedPostgres(data_folder).url, EmbeddedRedis(data_folder).url)
        code = first.end(signal.SIGINT, group=True)
        assert code == 0, first.errors
        assert [identity_of(pid) for pid in pids.values()] == [None, None]
        assert working_inside(data_folder) == []
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")

        assert read_both(data_folder) == (["one"], ["one"])
        assert (EmbeddedPostgres(data_folder).url, EmbeddedRedis(data_folder).url) == addresses


def working_inside(folder: DataFolder) -> list[str]:
    """Name the processes whose working folder is inside this data folder."""
    return [
        process.info["name"]
        for process in psutil.process_iter(["cwd", "name"])
        if (process.info["cwd"] or "").startswith(str(folder.path))
    ]


def test_a_kill_of_everything_loses_no_commit(data_folder: DataFolder) -> None:
    """After kill -9 of the supervisor and of every server process a new start finds every committed row."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        first.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        with redis.Redis.from_url(EmbeddedRedis(data_folder).url) as client:
            # "everysec" promises no more than the last second; the promise under test is recovery.
            eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        first.end(signal.SIGKILL)
        for process in psutil.process_iter(["cwd"]):
            if (process.info["cwd"] or "").startswith(str(data_folder.path)):
                process.kill()
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")

        assert read_both(data_folder) == (["one"], ["one"])


def test_servers_of_a_killed_supervisor_are_taken_over(data_folder: DataFolder) -> None:
    """After kill -9 of the supervisor alone the next start ends the old servers and keeps their data."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        old = first.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        first.end(signal.SIGKILL)
        assert all(identity_of(pid) for pid in old.values())
    with SupervisedRun(data_folder.path, servers=True) as second:
        new = second.wait_ready("postgres", "redis")

        assert [identity_of(pid) for pid in old.values()] == [None, None]
        assert set(old.values()).isdisjoint(new.values())
        assert read_both(data_folder) == (["one"], ["one"])


def test_servers_whose_note_is_lost_are_found(data_folder: DataFolder) -> None:
    """Even without the notes in the run folder no second server ever works on the same files."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        old = first.wait_ready("postgres", "redis")
        first.end(signal.SIGKILL)
    for note in data_folder.run.glob("*.json"):
        note.unlink()
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")

        assert [identity_of(pid) for pid in old.values()] == [None, None]


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_killed_server_is_started_again(data_folder: DataFolder, name: str) -> None:
    """A server killed with kill -9 under a living supervisor comes back with its data."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        pids = run.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        os.kill(pids[name], signal.SIGKILL)
        run.wait_for("died", name)
        run.wait_for("ready", name)

        assert read_both(data_folder) == (["one"], ["one"])


def test_a_second_start_is_refused(data_folder: DataFolder) -> None:
    """A second start on the same folder ends with a clear word, and the first one's servers never notice."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        pids = first.wait_ready("postgres", "redis")
        with SupervisedRun(data_folder.path, servers=True) as second:
            assert second.wait() == 1
        write_both(data_folder, "one")

        assert "AlreadyRunning" in second.errors
        assert str(first.process.pid) in second.errors
        assert all(identity_of(pid) for pid in pids.values())


def test_a_taken_port_is_avoided(data_folder: DataFolder) -> None:
    """When a stranger sits on a remembered port, the server moves to another one and keeps its data."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        first.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        first.end(signal.SIGTERM)
    servers = (EmbeddedPostgres(data_folder), EmbeddedRedis(data_folder))
    former = [server.port for server in servers]
    strangers = [socket.create_server(("127.0.0.1", port)) for port in former]
    try:
        with SupervisedRun(data_folder.path, servers=True) as second:
            second.wait_ready("postgres", "redis")

            assert all(server.port not in former for server in servers)
            assert read_both(data_folder) == (["one"], ["one"])
    finally:
        for stranger in strangers:
            stranger.close()


def test_a_killed_preparation_is_done_again(data_folder: DataFolder) -> None:
    """A start that is killed while Postgres's data is being made leaves nothing that stops the next one."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        eventually(lambda: list(data_folder.path.glob("postgres.new-*/PG_VERSION")), what="initdb began")
        first.end(signal.SIGKILL)
    assert not data_folder.postgres.exists()
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")
        write_both(data_folder, "one")

        assert list(data_folder.path.glob("postgres.new-*")) == []


def test_a_dead_postmasters_number_may_belong_to_anybody(data_folder: DataFolder) -> None:
    """A `postmaster.pid` that names a living stranger, as after a reboot, does not stop the start."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        first.wait_ready("postgres", "redis")
        first.end(signal.SIGTERM)
    stale = f"{os.getpid()}\n{data_folder.postgres}\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready\n"
    (data_folder.postgres / "postmaster.pid").write_text(stale)
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")

        assert second.order_of("died") == []


def test_a_lost_password_file_costs_no_data(data_folder: DataFolder) -> None:
    """Without the password file the role gets a new password at the next start, and the data stays."""
    with SupervisedRun(data_folder.path, servers=True) as first:
        first.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        former = EmbeddedPostgres(data_folder).url
        first.end(signal.SIGTERM)
    for name in ("postgres_password", "redis_password"):
        data_folder.secret_path(name).unlink()
    with SupervisedRun(data_folder.path, servers=True) as second:
        second.wait_ready("postgres", "redis")

        assert EmbeddedPostgres(data_folder).url != former
        assert read_both(data_folder) == (["one"], ["one"])
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(former)


def test_a_long_path_is_no_obstacle(data_folder: DataFolder) -> None:
    """A data folder whose path exceeds what a Unix socket's may have works like any other."""
    deep = data_folder.path / ("long" * 20) / ("and longer" * 10)
    data_folder.make()
    with SupervisedRun(deep, servers=True) as run:
        run.wait_ready("postgres", "redis")
        write_both(DataFolder(deep), "one")

        assert read_both(DataFolder(deep)) == (["one"], ["one"])


def test_data_of_another_postgres_is_refused(data_folder: DataFolder) -> None:
    """Data of another major version is left untouched, and the refusal says what to do."""
    data_folder.make()
    data_folder.postgres.mkdir()
    (data_folder.postgres / "PG_VERSION").write_text("17\n")

    with (
        claim_folder(data_folder.path),
        pytest.raises(ConfigurationError, match="was made by Postgres 17, and this is Postgres 18"),
    ):
        EmbeddedPostgres(data_folder).prepare()


def test_an_address_before_the_first_start_is_a_clear_word(data_folder: DataFolder) -> None:
    """Asking for the address of a server that was never prepared says how to start it."""
    for server in (EmbeddedPostgres(data_folder), EmbeddedRedis(data_folder)):
        with pytest.raises(NotPrepared, match="evergrant up"):
            _ = server.url


def test_preparing_twice_changes_nothing(data_folder: DataFolder) -> None:
    """A second preparation keeps password, port and data, and a lone server can be awaited."""
    with claim_folder(data_folder.path) as claimed:
        server = EmbeddedPostgres(data_folder)
        server.prepare()
        first = server.url
        server.prepare()
        assert server.url == first
        child = Child.start(server.spec(), claimed)
        try:
            server.wait_ready(PATIENCE)
            with psycopg.connect(database_named(first, "evergrant")) as connection:
                assert connection.execute("SELECT current_database()").fetchone() == ("evergrant",)
        finally:
            assert child.stop() == 0
