"""Who presents, and giving up a process that is lost with what it held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from services import alerts
from services.staged import StagedWatch
from storage.alerts import AlertStore
from storage.engine import make_engine
from storage.processes import ProcessReport, ProcessStore
from tests.cli.conftest import Shell

pytestmark = pytest.mark.servers
LOST = "machine-1:7:bulk:0123abcd"


@pytest.fixture
def silent(deployed: Shell) -> Shell:
    """A deployment in which a worker with two staged answers has not been heard of for an hour."""
    url = deployed.environment["EVERGRANT_DATABASE_URL"]
    engine = make_engine(SecretStr(url))
    store = ProcessStore(engine)
    store.register(LOST, role="bulk", host="machine-1", key_ids=())
    store.report(LOST, ProcessReport(datetime.now(UTC) - timedelta(hours=1), staged=2))
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 hour'")
    StagedWatch(store, AlertStore(engine)).run()
    engine.dispose()
    return deployed


def watch(shell: Shell) -> None:
    engine = make_engine(SecretStr(shell.environment["EVERGRANT_DATABASE_URL"]))
    StagedWatch(ProcessStore(engine), AlertStore(engine)).run()
    engine.dispose()


def test_a_lost_process_is_told_with_the_command_that_gives_it_up(silent: Shell) -> None:
    """One alert names machine, count and command; the command ends what waits for it, and the alert."""
    (alert,) = silent.json("alerts", "list")
    (row,) = silent.json("processes", "list")
    assert (alert["kind"], alert["severity"]) == (alerts.PROCESS_LOST, "critical")
    assert f"evergrant processes forget '{LOST}'" in alert["help"]
    assert (row["id"], row["state"], row["staged"]) == (LOST, "silent", 2)

    done = silent("processes", "forget", LOST)
    watch(silent)

    assert done.returncode == 0, done.stderr
    (row,) = silent.json("processes", "list")
    assert (row["state"], row["staged"]) == ("gone", 0)
    assert silent.json("alerts", "list") == []


def test_only_the_silent_are_given_up(deployed: Shell) -> None:
    """A process that reports, or that nobody knows, is refused with exit status 1, and nothing is changed."""
    engine = make_engine(SecretStr(deployed.environment["EVERGRANT_DATABASE_URL"]))
    ProcessStore(engine).register(LOST, role="bulk", host="machine-1", key_ids=())
    engine.dispose()

    for process_id in (LOST, "nobody"):
        done = deployed("processes", "forget", process_id)

        assert done.returncode == 1
        assert "evergrant processes list" in done.stderr
    (row,) = deployed.json("processes", "list")
    assert row["state"] == "living"


def test_a_deployment_without_workers_has_no_process(deployed: Shell) -> None:
    """An empty list says what to do, and the command itself is not in it."""
    done = deployed("processes", "list")

    assert done.returncode == 0
    assert "evergrant worker" in done.stderr
    assert deployed.json("processes", "list") == []
