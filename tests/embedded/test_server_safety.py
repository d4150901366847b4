"""What the embedded servers promise about durability, and what they keep to themselves."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.support.kept import write_both
from tests.support.servers import read_logs
from tests.support.supervised import SupervisedRun
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis

pytestmark = pytest.mark.acceptance


def test_no_password_is_where_others_can_see_it(data_folder: DataFolder) -> None:
    """No password is in an argument or environment of a server's process, in a log or in the port files; the
    files that hold one have mode 0600."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        pids = run.wait_ready("postgres", "redis")
        write_both(data_folder, "one")
        passwords = [data_folder.secret(name) or "" for name in ("postgres_password", "redis_password")]
        assert all(len(password) >= 32 for password in passwords)
        arguments = b"".join(path.read_bytes() for path in _readable("cmdline"))
        servers = [process for pid in pids.values() for process in family(pid)]
        environments = b"".join(environment_of(process) for process in servers)
        run.end(signal.SIGTERM)

    assert len(servers) > 4
    holding = [
        path
        for path in data_folder.path.rglob("*")
        if path.is_file() and any(password.encode() in path.read_bytes() for password in passwords)
    ]
    for password in passwords:
        assert password.encode() not in arguments
        assert password.encode() not in environments
        assert password not in read_logs(data_folder.path) + run.errors
    assert sorted(path.name for path in holding) == ["postgres_password", "redis.conf", "redis_password"]
    assert [path.stat().st_mode & 0o777 for path in holding] == [0o600] * 3


def environment_of(process: psutil.Process) -> bytes:
    """What it was started with; nothing where it has ended since, as Postgres' helpers do."""
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _readable(name: str) -> list[Path]:
    return [path for path in Path("/proc").glob(f"[0-9]*/{name}") if os.access(path, os.R_OK)]


@pytest.mark.skipif(os.geteuid() != 0, reason="the servers of an ordinary user run as that user")
def test_as_root_the_servers_run_without_rights(data_folder: DataFolder) -> None:
    """Root's servers are another account's processes, in a data folder that this account cannot enter."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        pids = run.wait_ready("postgres", "redis")

        for pid in pids.values():
            assert set(psutil.Process(pid).uids()) != {0}
            assert 0 not in psutil.Process(pid).uids()
            assert 0 not in psutil.Process(pid).gids()
        assert data_folder.path.stat().st_mode & 0o777 == 0o700
        assert data_folder.path.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change into an account without any rights")
def test_root_needs_no_open_parents(data_folder: DataFolder) -> None:
    """The unprivileged account cannot even list the data folder in which its servers run."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        run.wait_ready("postgres", "redis")
        owner = data_folder.postgres.stat()
        done = subprocess.run(
            ["/bin/ls", str(data_folder.path)],
            check=False, capture_output=True, user=owner.st_uid, group=owner.st_gid, extra_groups=[],
        )  # fmt: skip

        assert owner.st_uid != 0
        assert done.returncode != 0


def test_postgres_is_durable_and_closed(data_folder: DataFolder) -> None:
    """The settings that durability and safety rest on are in force, and the role is no superuser."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        run.wait_ready("postgres", "redis")
        url = EmbeddedPostgres(data_folder).url
        with psycopg.connect(url) as connection:
            facts = {
                name: connection.execute(f"SHOW {name}").fetchone()
                for name in (
                    "fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding",
                    "listen_addresses", "unix_socket_directories", "jit", "max_connections", "TimeZone",
                )
            }  # fmt: skip
            rights = connection.execute(
                "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()

        assert {name: value[0] for name, value in facts.items() if value} == {
            "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
            "server_encoding": "UTF8", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "jit": "off", "max_connections": "200", "TimeZone": "UTC",
        }  # fmt: skip
        assert rights == (False, False)
        for stranger in ("postgres", "root"):
            with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
                psycopg.connect(url.replace("//evergrant:", f"//{stranger}:"))


def test_redis_is_durable_and_closed(data_folder: DataFolder) -> None:
    """Redis appends to a file, evicts nothing, and answers nobody without the password."""
    with SupervisedRun(data_folder.path, servers=True) as run:
        run.wait_ready("postgres", "redis")
        url = EmbeddedRedis(data_folder).url
        with redis.Redis.from_url(url, decode_responses=True) as client:
            facts = client.config_get("*")
        with (
            redis.Redis(port=EmbeddedRedis(data_folder).port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()

    wanted = {
        "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": "",
        "bind": "127.0.0.1", "protected-mode": "yes",
    }  # fmt: skip
    assert {name: facts[name] for name in wanted} == wanted
