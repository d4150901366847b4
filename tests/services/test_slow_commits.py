"""A Postgres that neither takes an answer nor refuses it: the answer is staged while its thread waits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from domain.asks import Outcome
from simulator.process import SimulatorProcess
from storage.migrate import upgrade
from storage.staging.life import anybody_holding
from storage.staging.spool import Spool
from tests.services.test_postgres_away import blocked, waiting_writers
from tests.services.world import World
from tests.support.servers import PATIENCE
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder

pytestmark = pytest.mark.servers


def test_an_answer_is_staged_while_its_commit_waits(world: World) -> None:
    """Half a second inside of Postgres, and it lies in the spool; when the commit comes back, it does not."""
    connected = world.connect("strict")
    world.sim.configure("strict", latency=500)
    spool = world.services.sweeper.spool
    spool.prepare()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with blocked(world, connected):
            eventually(lambda: waiting_writers(world) == 1, what="the commit waits for the row")
            eventually(lambda: len(spool.attempts()) == 1, seconds=5, what="the answer is staged")
            eventually(lambda: len(list(world.services.sweeper.shelf.envelopes(connected.id))) == 1)
        result = running.result(60)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert world.opens(connected)
    assert spool.attempts() == frozenset()
    assert list(world.services.sweeper.shelf.envelopes(connected.id)) == []
    assert world.kinds(connected) == ["imported", "refreshed"]


def test_a_spool_that_refuses_is_asked_again_while_the_commit_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile memory alone holds the answer, and that is said; the spool takes it when it can."""
    connected = world.connect("strict")
    world.sim.configure("strict", latency=500)
    put, flights = Spool.put, world.services.flights
    world.services.sweeper.spool.prepare()
    full = iter([OSError(28, "No space left on device")])

    def refusing(self: Spool, envelope: object) -> None:
        for error in full:
            raise error
        put(self, envelope)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Spool, "put", refusing)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with blocked(world, connected):
            eventually(lambda: flights.ever_unsafe == 1, what="memory alone holds it")
            eventually(lambda: flights.unsafe_now == 0, seconds=5, what="the spool has it")
        assert running.result(60).outcome is Outcome.REFRESHED


def test_the_thread_that_stages_outlives_a_fault_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would start another one, and no slow commit would be staged any more."""
    connected = world.connect("strict")
    world.sim.configure("strict", latency=500)
    put, spool = Spool.put, world.services.sweeper.spool
    spool.prepare()
    faults = iter([ZeroDivisionError()])

    def failing(self: Spool, envelope: object) -> None:
        for error in faults:
            raise error
        put(self, envelope)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Spool, "put", failing)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        with blocked(world, connected):
            eventually(lambda: len(spool.attempts()) == 1, seconds=8, what="the answer is staged")
        assert running.result(60).outcome is Outcome.REFRESHED
    assert spool.attempts() == frozenset()


@pytest.fixture
def frozen_postgres(data_folder: DataFolder) -> Iterator[tuple[EmbeddedPostgres, Child]]:
    with claim_folder(data_folder.path) as claimed:
        server = EmbeddedPostgres(data_folder)
        server.prepare()
        child = Child.start(server.spec(), claimed)
        try:
            server.wait_ready(PATIENCE)
            yield server, child
        finally:
            freeze(child, signal.SIGCONT)
            child.stop()


@pytest.mark.acceptance
def test_a_frozen_postgres(
    simulator: SimulatorProcess,
    redis_url: str,
    frozen_postgres: tuple[EmbeddedPostgres, Child],
    tmp_path: Path,
) -> None:
    """SIGSTOP of the whole server after the answers arrived: all are staged within seconds, and land."""
    server, child = frozen_postgres
    upgrade(server.url)
    world = World(simulator, server.url, redis_url, tmp_path)
    try:
        many = world.connect_many("strict", 6)
        world.sim.fault("hang_after", dialect="strict", seconds=2, count=None, owner=world.owner)
        spool = world.services.sweeper.spool
        spool.prepare()
        with ThreadPoolExecutor(6) as pool:
            running = [pool.submit(world.refresh, item) for item in many]
            eventually(lambda: all(world.grant(item)["generation"] == 1 for item in many))
            freeze(child, signal.SIGSTOP)
            eventually(lambda: len(spool.attempts()) == 6, seconds=10, what="all six are staged")
            assert not anybody_holding(spool.folder)
            freeze(child, signal.SIGCONT)
            results = [future.result(60) for future in running]

        assert {(result.outcome, result.version) for result in results} == {(Outcome.REFRESHED, 2)}
        assert all(world.opens(item) and world.alive(item) for item in many)
        assert spool.attempts() == frozenset()
        assert simulator.client.incidents() == []
    finally:
        simulator.client.clear_faults()
        world.close()


def freeze(child: Child, number: signal.Signals) -> None:
    """Signal the server and its backends, which lie in groups of their own."""
    leader = psutil.Process(child.pid)
    for process in (leader, *leader.children(recursive=True)):
        process.send_signal(number)
