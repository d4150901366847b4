"""Postgres goes away at the worst moments; what the provider answered is not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from domain.asks import Outcome
from domain.errors import ServiceUnavailable
from domain.token import Status
from simulator.process import SimulatorProcess
from storage.migrate import upgrade
from storage.tokens.landing import Landing, LandResult
from tests.services.world import Connected, World
from tests.support.servers import PATIENCE
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder

pytestmark = pytest.mark.servers


@contextmanager
def blocked(world: World, connected: Connected) -> Iterator[None]:
    """Hold the token row's lock, so that whoever writes it waits inside Postgres."""
    with psycopg.connect(world.database_url) as other:
        other.execute("SELECT 1 FROM tokens WHERE connection_id = %s FOR UPDATE", (connected.id,))
        yield


def waiting_writers(world: World) -> int:
    rows = world.rows(
        "SELECT count(*) AS number FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'evergrant-test' AND wait_event_type = 'Lock'"
    )
    return int(rows[0]["number"])


def test_connections_cut_while_the_provider_answers(world: World) -> None:
    """Every pooled connection is dead when the answer arrives: it lands through a new one."""
    many = world.connect_many("strict", 6)
    world.sim.fault("hang_after", dialect="strict", seconds=1.5, count=None, owner=world.owner)
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(world.refresh, item) for item in many]
        eventually(lambda: all(world.grant(item)["generation"] == 1 for item in many))

        assert world.terminate_backends() > 0
        results = [future.result() for future in running]

    assert {(result.outcome, result.version) for result in results} == {(Outcome.REFRESHED, 2)}
    assert all(world.opens(item) and world.alive(item) for item in many)
    assert world.sim.incidents() == []


def test_a_connection_cut_inside_the_landing(world: World) -> None:
    """The commit itself is interrupted, again and again: repeated until it is done, and done once."""
    connected = world.connect("strict")
    world.sim.configure("strict", latency=500)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with blocked(world, connected):
            for _ in range(3):
                eventually(lambda: waiting_writers(world) == 1, what="the landing waits for the row")
                assert world.terminate_backends() > 0
        result = running.result(60)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert world.opens(connected)
    assert world.kinds(connected) == ["imported", "refreshed"]
    assert world.presented(connected) == 1
    assert world.alive(connected)


def test_a_claim_that_is_cut_presents_nothing(world: World) -> None:
    """Whether the claim was made is unknown, so nothing is sent; the token is had by the next one."""
    connected = world.connect("strict")
    with ThreadPoolExecutor(1) as pool, blocked(world, connected):
        running = pool.submit(world.refresh, connected)
        eventually(lambda: waiting_writers(world) == 1, what="the claim waits for the row")
        assert world.terminate_backends() > 0
        with pytest.raises(ServiceUnavailable):
            running.result(60)

    assert world.presented(connected) == 0
    assert world.refresh(connected).outcome is Outcome.REFRESHED


def test_a_commit_whose_confirmation_was_lost_recognises_itself(world: World) -> None:
    """The answer landed and the connection broke before anybody heard: the repetition writes nothing."""
    connected = world.connect("strict")
    store = world.services.tokens
    land, calls = store.land, list[LandResult]()

    def deaf(landing: Landing) -> LandResult:
        result = land(landing)
        calls.append(result)
        if len(calls) == 1:
            raise ServiceUnavailable("Postgres: the line broke after the commit")
        return result

    store.land = deaf  # type: ignore[method-assign]  # the fault is injected at the narrowest place there is
    result = world.refresh(connected)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert [type(item).__name__ for item in calls] == ["Landed", "AlreadyLanded"]
    assert world.row(connected)["version"] == 2
    assert world.opens(connected)


@pytest.mark.parametrize(
    ("fault", "order", "status"),
    [
        ("invalid_grant", {}, Status.NEEDS_REAUTH),
        ("status", {"status": 503}, Status.ACTIVE),
        ("drop_after", {}, Status.IN_DOUBT),
    ],
)
def test_a_failure_is_written_down_after_an_absence(
    world: World, fault: str, order: dict[str, object], status: Status
) -> None:
    """What the provider said is recorded as it was, not as a lapsed lease."""
    connected = world.connect("strict")
    world.sim.configure("strict", latency=500)
    world.sim.fault(fault, dialect="strict", **order)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with blocked(world, connected):
            eventually(lambda: waiting_writers(world) == 1, what="the record waits for the row")
            assert world.terminate_backends() > 0
        running.result(60)

    row = world.row(connected)
    assert (row["status"], row["failures"]) == (status, 1)
    assert row["last_error_code"] != "lease_lapsed"
    assert world.alert_kinds() == (["needs_reauth"] if status is Status.NEEDS_REAUTH else [])


@pytest.mark.acceptance
def test_an_answer_waits_for_a_postgres_that_was_stopped(
    simulator: SimulatorProcess, redis_url: str, data_folder: DataFolder, tmp_path: Path
) -> None:
    """Stopped after the provider rotated, started again a while later: the answer has been kept."""
    with claim_folder(data_folder.path) as claimed:
        server = EmbeddedPostgres(data_folder)
        server.prepare()
        child = Child.start(server.spec(), claimed)
        server.wait_ready(PATIENCE)
        upgrade(server.url)
        world = World(simulator, server.url, redis_url, tmp_path)
        try:
            connected = world.connect("strict")
            results = []
            world.sim.fault("hang_after", dialect="strict", seconds=2)
            worker = threading.Thread(target=lambda: results.append(world.refresh(connected)))
            worker.start()
            eventually(lambda: world.grant(connected)["generation"] == 1)
            child.stop()
            worker.join(4)
            assert worker.is_alive()
            server.prepare()
            child = Child.start(server.spec(), claimed)
            server.wait_ready(PATIENCE)
            worker.join(60)

            assert (results[0].outcome, results[0].version) == (Outcome.REFRESHED, 2)
            assert world.opens(connected)
            assert world.alive(connected)
            assert world.presented(connected) == 1
            world.update("refresh_due_at = now()", connected)
            assert world.refresh(connected).outcome is Outcome.REFRESHED
            assert simulator.client.incidents() == []
        finally:
            world.close()
            child.stop()
