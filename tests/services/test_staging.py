"""An answer that Postgres does not take: staged at once, and landed once, whoever does it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.refresh import sweeping
from storage.staging.envelope import Envelope
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from tests.services.away import Away, landed_once, process_of, shelved, spooled
from tests.services.ending import user_of
from tests.services.world import Connected, World, line_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


@pytest.mark.usefixtures("by_hand")
def test_it_is_staged_at_once_in_the_spool_first(
    world: World, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spool, then Redis; the caller hears within seconds that it is on its way, and so does the register."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    places: list[str] = []
    spool_put, shelf_put = Spool.put, Shelf.put

    def noted_spool(self: Spool, envelope: Envelope) -> None:
        spool_put(self, envelope)
        places.append("spool")

    def noted_shelf(self: Shelf, envelope: Envelope) -> None:
        shelf_put(self, envelope)
        places.append("shelf")

    monkeypatch.setattr(Spool, "put", noted_spool)
    monkeypatch.setattr(Shelf, "put", noted_shelf)
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    results = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        away.await_answers(connected)
        with away.away():
            eventually(lambda: world.grant(connected)["under_way"] == 0, what="the provider has answered")
            began = time.monotonic()
            eventually(lambda: places == ["spool", "shelf"], seconds=5, what="it is staged")
            assert not running.done()
            assert time.monotonic() - began < 2
            results.append(running.result(20))
            assert time.monotonic() - began < 10

    assert (results[0].outcome, results[0].code) == (Outcome.DEFERRED, "staged")
    assert results[0].retry_at is not None
    assert places == ["spool", "shelf"]
    assert spooled(world) == shelved(world) == [str(connected.id)]
    row = world.row(connected)
    assert (row["status"], row["version"], row["presented_at"] is not None) == (Status.ACTIVE, 1, True)
    world.services.sweeper.sweep()
    landed_once(world, connected)
    detail = world.rows("SELECT detail FROM activity WHERE kind = 'refreshed'")[0]["detail"]
    assert detail["staged"] is True


def test_a_short_absence_is_sat_out(world: World, away: Away) -> None:
    """Postgres is back while the caller waits: he has his token, and what was staged is removed."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        away.await_answers(connected)
        with away.away():
            eventually(lambda: spooled(world), what="it is staged")
        result = running.result(20)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    landed_once(world, connected)


def test_the_sweeper_lands_it_when_postgres_is_back(world: World, away: Away) -> None:
    """Nobody asks for it: the thread of the process that received it does it by itself."""
    world.services.sweeper.start()
    many = world.connect_many("strict", 3)

    away.stage(*many)

    eventually(lambda: not spooled(world) and not shelved(world), seconds=20, what="everything has landed")
    for connected in many:
        assert world.opens(connected)
        assert (world.presented(connected), world.alive(connected)) == (1, True)
    eventually(lambda: process_of(world, world.services.sweeper.owner)["staged"] == 0)


@pytest.mark.usefixtures("by_hand")
def test_another_process_lands_it(world: World, away: Away) -> None:
    """Whoever shares the spool lands what the other one received."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected)

    world.wire().sweeper.start()

    landed_once(world, connected)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("provider_id", ["strict", "gsc"])
def test_another_machine_lands_it_through_redis_alone(
    world: World, away: Away, tmp_path: Path, provider_id: str
) -> None:
    """With a spool of its own; the first copy recognises itself later, even after the next refresh."""
    world.services.sweeper.start()
    connected = world.connect(provider_id)
    away.stage(connected)
    elsewhere = world.wire(data_dir=tmp_path / "elsewhere")

    elsewhere.sweeper.start()

    assert (world.row(connected)["version"], shelved(world)) == (2, [])
    assert world.opens(connected)
    assert spooled(world) == [str(connected.id)]
    world.update("refresh_due_at = now(), last_refreshed_at = NULL", connected)
    assert world.refresh(connected, services=elsewhere).outcome is Outcome.REFRESHED
    world.services.sweeper.sweep()
    assert spooled(world) == []
    assert world.kinds(connected) == ["imported", "refreshed", "refreshed"]
    assert world.rows("SELECT * FROM spare_tokens") == []
    assert world.alive(connected)
    assert world.presented(connected) == 2


@pytest.mark.usefixtures("by_hand")
def test_two_machines_land_it_at_the_same_moment(world: World, away: Away, tmp_path: Path) -> None:
    """One lands it, the other recognises it, and neither is surprised."""
    world.services.sweeper.start()
    sweepers = [world.services.sweeper]
    for number in range(3):
        sweepers.append(world.wire(data_dir=tmp_path / f"elsewhere-{number}").sweeper)
        sweepers[-1].start()
    many = world.connect_many("strict", 6)
    away.stage(*many)
    barrier = threading.Barrier(len(sweepers))

    def sweep(sweeper: sweeping.Sweeper) -> None:
        barrier.wait()
        sweeper.sweep()

    with ThreadPoolExecutor(len(sweepers)) as pool:
        list(pool.map(sweep, sweepers))

    for connected in many:
        landed_once(world, connected)


@pytest.mark.usefixtures("by_hand")
def test_a_row_that_has_moved_on_gets_a_spare(world: World, away: Away) -> None:
    """Somebody else's answer has landed meanwhile: nothing is overwritten, nothing is thrown away."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected)
    world.update("version = version + 1, committed_attempt_id = gen_random_uuid()", connected)

    world.services.sweeper.sweep()

    assert world.row(connected)["version"] == 2
    assert [row["connection_id"] for row in world.rows("SELECT * FROM spare_tokens")] == [connected.id]
    assert world.kinds(connected) == ["imported", "answer_superseded"]
    assert (spooled(world), shelved(world)) == ([], [])


@pytest.mark.usefixtures("by_hand")
def test_an_answer_of_an_old_grant_goes_nowhere(world: World, away: Away) -> None:
    """The user has connected anew meanwhile: the staged pair is not his grant's any more."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected)
    anew = world.sim.mint("strict", owner=world.owner)[0]
    user = user_of(world, connected)
    report, _ = world.import_lines([line_of(anew, user, "strict")], replace=True)
    assert report.outcomes == {"replaced": 1}

    world.services.sweeper.sweep()

    assert world.opens(Connected(connected.id, "strict", anew))
    assert world.rows("SELECT * FROM spare_tokens") == []
    assert "refreshed" not in world.kinds(connected)
    assert (spooled(world), shelved(world)) == ([], [])
