"""Neither Postgres nor the spool takes an answer: held in memory, told, and never given up."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self

import pytest

from domain.asks import Outcome
from domain.errors import ConfigurationError
from services.refresh import landing as landing_module
from services.refresh import sweeping
from storage.staging.envelope import Envelope
from storage.staging.life import LifeLock, anybody_holding
from storage.staging.spool import Spool
from storage.tokens.landing import Landing, LandResult
from tests.services.away import Away, landed_once, process_of, shelved, spooled
from tests.services.stager import Stager
from tests.services.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers
NOBODY = "redis://127.0.0.1:1/0"


def holding(world: World) -> bool:
    return anybody_holding(world.data_dir / "spool")


@pytest.mark.parametrize("redis_too", [True, False], ids=["no Redis either", "a copy in Redis"])
def test_a_full_disk_leaves_it_in_memory_until_postgres_is_back(
    world: World, away: Away, redis_too: bool
) -> None:
    """Redis alone is not safe: the process shows that it must not be killed, and lands it itself."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with Stager(world, connected, full_disk=True, redis_url=NOBODY if redis_too else None) as stager:
        assert not holding(world)
        stager.go()
        away.await_answers(connected)
        with away.away():
            eventually(lambda: holding(world), seconds=20, what="it shows that it must not be killed")
            if not redis_too:
                eventually(lambda: shelved(world) == [str(connected.id)], what="Redis has a copy")
            # Its patience for safe answers is over, and it still holds on.
            eventually(lambda: stager.said().count("answer_held_in_memory") == 1)
            assert spooled(world) == []
        assert stager.result()["outcome"] == "refreshed"
        eventually(lambda: not holding(world), what="it may be killed again")
        eventually(lambda: world.alert_kinds() == ["answers_unsafe"], what="somebody is told")
        assert "answer_staged" not in stager.said()
        eventually(lambda: process_of(world, stager.owner)["unsafe"] == 0)

        world.services.housekeeping.run()

    landed_once(world, connected)
    assert [what for what, _ in world.events()] == ["opened", "resolved"]


def test_no_worker_starts_with_a_spool_that_takes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence that names the place and the mend; with space it starts as if nothing had been."""

    def full(_: LifeLock) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(LifeLock, "take", full)
        with pytest.raises(ConfigurationError, match=r"spool cannot be written: No space left.*free space"):
            world.services.sweeper.start()

    world.services.sweeper.start()


def test_a_stop_waits_for_what_memory_alone_holds(world: World, away: Away) -> None:
    """Asked to end in the meantime, the process ends after the answer has landed."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with Stager(world, connected, full_disk=True) as stager:
        stager.go()
        away.await_answers(connected)
        with away.away():
            eventually(lambda: holding(world), seconds=20, what="it holds the answer")
            with ThreadPoolExecutor(1) as pool:
                ended = pool.submit(stager.end)
                eventually(lambda: stager.said().count("answer_not_landed") >= 1)
                assert not ended.done()
                away.give_back()
                assert ended.result(60) == 0, stager.said()

    landed_once_besides_alerts(world)
    assert world.opens(connected)


def landed_once_besides_alerts(world: World) -> None:
    assert [row["version"] for row in world.rows("SELECT version FROM tokens")] == [2]
    assert (spooled(world), shelved(world)) == ([], [])


class Refusing:
    """A store that refuses landings, and a spool that is full, while the rest of Postgres answers."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.spool = True, True
        land, put = world.services.tokens.land, Spool.put

        def refuse(landing: Landing) -> LandResult:
            if self.store:
                # Nothing that passes by itself: the rest of Postgres is there.
                raise ValueError("a column of another kind")
            return land(landing)

        def full(spool: Spool, envelope: Envelope) -> None:
            if self.spool:
                raise OSError(28, "No space left on device")
            put(spool, envelope)

        monkeypatch.setattr(world.services.tokens, "land", refuse)
        monkeypatch.setattr(world.services.sweeper, "_land", refuse)
        monkeypatch.setattr(Spool, "put", full)
        monkeypatch.setattr(landing_module, "LONGEST_WAIT", 0.2)
        monkeypatch.setattr(sweeping, "EVERY", 0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever has failed: a thread that holds an answer would be waited for.
        self.store = self.spool = False


def test_the_register_and_the_alert_tell_of_it_while_it_lasts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted as unsafe, one alert that housekeeping leaves open, and not settled; then it is over."""
    refusing = Refusing(world, monkeypatch)
    world.services.sweeper.start()
    connected = world.connect("strict")
    owner = world.services.sweeper.owner
    with ThreadPoolExecutor(1) as pool, refusing:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: process_of(world, owner)["unsafe"] == 1, what="the register tells it")
        # Its copy in Redis is refused too, which has an alert of its own.
        eventually(lambda: "answers_unsafe" in world.alert_kinds(), seconds=20)
        world.services.housekeeping.run()
        assert "answers_unsafe" in world.alert_kinds()
        assert holding(world)
        told = process_of(world, owner)["settled_until"]
        assert told <= world.row(connected)["presented_at"]
        assert not running.done()
        refusing.store = False
        assert running.result(30).outcome is Outcome.REFRESHED
    eventually(lambda: process_of(world, owner)["unsafe"] == 0)
    world.services.housekeeping.run()
    assert "answers_unsafe" not in world.alert_kinds()
    landed_once_besides_alerts(world)


def test_a_disk_with_room_again_makes_it_safe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres still refuses, the spool does not any more: staged, the thread is free, nothing is held."""
    refusing = Refusing(world, monkeypatch)
    world.services.sweeper.start()
    connected = world.connect("strict")
    with ThreadPoolExecutor(1) as pool, refusing:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: holding(world), what="memory alone holds it")
        refusing.spool = False
        result = running.result(30)

        assert (result.outcome, result.code) == (Outcome.DEFERRED, "staged")
        assert (spooled(world), holding(world)) == ([str(connected.id)], False)
        owner = world.services.sweeper.owner
        eventually(lambda: process_of(world, owner)["staged"] == 1, what="the register tells it")
        assert process_of(world, owner)["unsafe"] == 0


def test_an_answer_that_postgres_refuses_for_good_keeps_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept and told once; the others land, though even its alert may be refused."""
    refusing = Refusing(world, monkeypatch)
    monkeypatch.setattr(sweeping, "EVERY", 3600.0)
    refusing.spool = False
    world.services.sweeper.start()
    many = world.connect_many("strict", 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(world.refresh, many))
    bad, good = sorted(many, key=lambda item: str(item.id))
    refusing.store = False
    other = world.wire()
    land = other.tokens.land

    def refuse(landing: Landing) -> LandResult:
        if landing.connection_id == bad.id:
            raise ValueError("a column of another kind")
        return land(landing)

    monkeypatch.setattr(other.sweeper, "_land", refuse)
    with monkeypatch.context() as patched:
        patched.setattr(other.alerts, "open", lambda _spec: 1 / 0)
        other.sweeper.start()
    assert (world.row(good)["version"], world.row(bad)["version"]) == (2, 1)
    assert spooled(world) == [str(bad.id)]

    for _ in range(2):
        other.sweeper.sweep()
        world.services.housekeeping.run()

    assert [what for what, _ in world.events()] == ["opened"]
    assert world.alert_kinds() == ["staged_refused"]

    # Recovery finds it too, and presents nothing over it.
    monkeypatch.setattr(other.refresh._recovery, "_land", refuse)
    world.pass_time(timedelta(hours=1), bad)
    presented = world.presented(bad)
    assert world.refresh(bad, services=other).code == "in_doubt"
    world.update("refresh_due_at = now()", bad)
    assert world.refresh(bad, services=other).code == "in_doubt"
    assert world.presented(bad) == presented
