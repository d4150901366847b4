"""`evergrant up` as an operator meets it: embedded servers, interruptions, kills, servers of his own."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from simulator.process import SimulatorProcess
from storage.keys import generate
from tests.acceptance.deployment import Running, bare_environment, import_line, run_cli, start_process
from tests.acceptance.flower_pages import FlowerVisit
from tests.acceptance.processes import family_of, kill_all, names, still_running
from tests.acceptance.provider_file import client_variables, definitions
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.ports import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

READY = ("bulk", "interactive", "control", "beat", "api", "flower")


class Up:
    """One run of `evergrant up`, and what an operator does meanwhile in another terminal."""

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        self.environment = environment
        self.port, self.face_port = port, free_port()
        self.running: Running = start_process(
            "up",
            environment,
            ["up", "--port", str(self.face_port), "--flower-port", str(port)],
            log,
            cwd=log.parent,
        )
        self._from = 0 if not log.exists() else len(log.read_bytes())

    def said(self) -> str:
        return self.running.log.read_bytes()[self._from :].decode(errors="replace")

    def await_ready(self) -> None:
        def ready() -> bool:
            assert self.running.process.poll() is None, self.said()
            return all(f"{name} ready" in self.said() for name in READY)

        eventually(ready, seconds=120, what=f"ready: {READY}")

    def cli(self, *words: str, stdin: str = "", status: int = 0) -> str:
        done = run_cli(self.environment, *words, stdin=stdin, cwd=self.running.log.parent)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def family(self) -> list[psutil.Process]:
        return family_of(self.running.process.pid)


@pytest.fixture
def settings(data_folder: DataFolder, simulator: SimulatorProcess, tmp_path: Path) -> dict[str, str]:
    """An environment whose only settings are where the data and the providers are."""
    file = tmp_path / "providers.toml"
    file.write_text(definitions(simulator.base_url, lifetime=20, check_every=3600), encoding="utf-8")
    return bare_environment(
        EVERGRANT_DATA_DIR=str(data_folder.path), EVERGRANT_PROVIDERS_FILE=str(file), **client_variables()
    )


@contextmanager
def up(settings: dict[str, str], tmp_path: Path) -> Iterator[Up]:
    """Start it and wait until everything is ready; whatever is left at the end is killed."""
    run = Up(settings, free_port(), tmp_path / "up.log")
    try:
        run.await_ready()
        yield run
    finally:
        if run.running.process.poll() is None:
            kill_all(run.family())
            run.running.process.wait(30)


def two_lines(simulator: SimulatorProcess) -> str:
    """Mint a Google and a strict grant of short life, and write them for the import."""
    order = {"lifetime": 20, "first_lifetime": 12}
    return "".join(
        import_line(simulator.client.mint(dialect, 1, **order)[0], provider_id)
        for provider_id, dialect in (("gsc", "google"), ("strict", "strict"))
    )


def await_refreshed(url: str, count: int, since: datetime, *, seconds: float = 60) -> None:
    """Wait until so many tokens, and there are no others, were refreshed after an instant."""

    def refreshed() -> bool:
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT last_refreshed_at FROM tokens").fetchall()
        assert len(rows) == count, "a connection is missing"
        return all(at is not None and at > since for (at,) in rows)

    eventually(refreshed, seconds=seconds, what=f"{count} tokens are refreshed")


def assert_kept_fresh(simulator: SimulatorProcess) -> None:
    total = simulator.client.report()["total"]
    names = ("concurrent_presentations", "reuse", "lapses")
    assert {name: total[name] for name in names} == dict.fromkeys(names, 0)


def test_a_life_with_the_embedded_servers(
    settings: dict[str, str], simulator: SimulatorProcess, data_folder: DataFolder, tmp_path: Path
) -> None:
    """Through every end that it may meet, `up` leaves no process when asked, and loses no connection when
    killed: SIGTERM, kill -9 of everything at once, kill -9 of the supervisor alone, Ctrl-C."""
    with up(settings, tmp_path) as first:
        url = EmbeddedPostgres(data_folder).url
        began = datetime.now(UTC)
        assert "2 created" in first.cli("connections", "import", "-", stdin=two_lines(simulator))
        refuse_a_second_one(first)
        check_flower(first, data_folder)
        check_the_command_line(first)
        await_refreshed(url, 2, began)
        assert_kept_fresh(simulator)
        end_in_good_order(first, lambda: first.running.process.send_signal(signal.SIGTERM))

    began = datetime.now(UTC)
    with up(settings, tmp_path) as second:
        await_refreshed(url, 2, began)
        kill_all(second.family())
        second.running.process.wait(30)

    began = datetime.now(UTC)
    with up(settings, tmp_path) as third:
        await_refreshed(url, 2, began)
        family = third.family()
        third.running.process.kill()
        third.running.process.wait(30)
        # Its children live on without it.
        orphans = still_running(family)
        assert {"postgres", "redis-server"} <= names(orphans)

    began = datetime.now(UTC)
    with up(settings, tmp_path) as fourth:
        assert "left over from a run that was killed" in fourth.said()
        assert still_running(orphans) == []
        await_refreshed(url, 2, began)
        # As Ctrl-C does: the whole foreground group hears it.
        end_in_good_order(fourth, lambda: os.killpg(fourth.running.process.pid, signal.SIGINT))

    total = simulator.client.report()["total"]
    assert (total["reuse"], total["concurrent_presentations"]) == (0, 0)
    for log in (tmp_path / "up.log", *data_folder.logs.glob("*.log")):
        assert "Traceback" not in log.read_text(errors="replace"), log


def end_in_good_order(run: Up, ask: Callable[[], None]) -> None:
    """It ends with status 0, and nothing that it started outlives it."""
    family = run.family()
    assert {"postgres", "redis-server"} <= names(family)
    ask()
    assert run.running.process.wait(90) == 0, run.said()
    assert still_running(family) == []


def check_the_command_line(run: Up) -> None:
    """Commands in another terminal find the embedded servers, and everything is well."""
    doctor = json.loads(run.cli("doctor", "--json"))
    assert [finding for finding in doctor if finding["severity"] == "fail"] == []
    connection_id = json.loads(run.cli("connections", "list", "--json"))[0]["id"]
    assert json.loads(run.cli("refresh", connection_id, "--wait"))["connection_id"] == connection_id
    served = (("flower", "--port", str(run.port)), ("api", "--port", str(run.face_port)))
    for words in (("worker", "--name", "bulk"), ("beat",), *served):
        run.cli("healthcheck", *words)


def refuse_a_second_one(first: Up) -> None:
    again = run_cli(first.environment, "up", cwd=first.running.log.parent)
    assert again.returncode == 1
    assert "already running" in again.stderr
    assert str(first.running.process.pid) in again.stderr
    assert "EVERGRANT_DATA_DIR" in again.stderr


def check_flower(run: Up, data_folder: DataFolder) -> None:
    """The sign-in that was made is where the start said, and nobody else may read it."""
    place = re.search(r"user:password in (\S+)", run.said())
    assert place is not None, run.said()
    file = Path(place.group(1))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.is_relative_to(data_folder.path)
    visit = FlowerVisit(f"http://127.0.0.1:{run.port}")
    assert visit.status("/api/tasks") == 401
    assert visit.status("/api/tasks", sign_in=file.read_text().strip()) == 200
    assert file.read_text().strip().partition(":")[2] not in run.said()


def test_servers_of_ones_own_are_used(
    settings: dict[str, str],
    simulator: SimulatorProcess,
    data_folder: DataFolder,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    """With both URLs set no server is started: the empty database is migrated and used."""
    own = {
        **settings,
        "EVERGRANT_DATABASE_URL": database_url,
        "EVERGRANT_REDIS_URL": redis_url,
        "EVERGRANT_KEYS": generate(),
    }
    with up(own, tmp_path) as run:
        began = datetime.now(UTC)
        run.cli("connections", "import", "-", stdin=two_lines(simulator))
        await_refreshed(database_url, 2, began)

        assert names(run.family()).isdisjoint({"postgres", "redis-server", "valkey-server"})
        assert not data_folder.postgres.exists()
        assert not data_folder.redis.exists()
        assert not data_folder.secret_path("keys").exists()
        assert run.running.end(signal.SIGTERM) == 0
    assert_kept_fresh(simulator)
