"""Processes that end, are killed or forgotten, and the answers that they leave."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.asks import Outcome
from storage.staging.spool import Spool
from tests.services.away import Away, landed_once, process_of, spooled
from tests.services.stager import Stager
from tests.services.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def test_the_next_start_lands_what_a_killed_process_left(world: World, away: Away) -> None:
    """A real process is killed with its answer staged; the next one lands it and tells that it is gone."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with Stager(world, connected) as stager:
        stager.go()
        away.await_answers(connected)
        with away.away():
            assert stager.result()["code"] == "staged"
            stager.kill()
    assert process_of(world, stager.owner)["gone_at"] is None

    world.services.sweeper.start()

    landed_once(world, connected)
    assert process_of(world, stager.owner)["gone_at"] is not None
    assert not [path for path in (world.data_dir / "spool").iterdir() if path.suffix == ".part"]


def test_an_end_in_good_order_tells_what_is_left(world: World, away: Away) -> None:
    """Asked to stop while Postgres is away, it leaves the answer to the next start; it is not called gone."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with Stager(world, connected) as stager:
        stager.go()
        away.await_answers(connected)
        with away.away():
            assert stager.result()["code"] == "staged"
            assert stager.end() == 0, stager.said()
    assert spooled(world) == [str(connected.id)]
    assert process_of(world, stager.owner)["gone_at"] is None

    world.services.sweeper.start()

    landed_once(world, connected)
    assert process_of(world, stager.owner)["gone_at"] is not None


def test_a_spool_that_cannot_be_read_leaves_nobody_for_dead(
    world: World, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead process left there is not known, so it is not called gone; later it is landed."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=1)
    with Stager(world, connected, redis_url="redis://127.0.0.1:1/0") as stager:
        stager.go()
        away.await_answers(connected)
        with away.away():
            assert stager.result()["code"] == "staged"
            stager.kill()

    def broken(*_: object) -> object:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Spool, "_files", broken)
        world.services.sweeper.start()
        assert process_of(world, stager.owner)["gone_at"] is None
    world.services.sweeper.sweep()

    landed_once(world, connected)
    assert process_of(world, stager.owner)["gone_at"] is not None


def test_a_stop_with_a_presentation_under_way_is_no_good_end(world: World) -> None:
    """Told to stop at once, a thread may still bring its answer: nobody may take the process for gone."""
    connected = world.connect("strict")
    other = world.wire()
    other.sweeper.start()
    world.sim.fault("hang_after", dialect="strict", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected, services=other)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        other.sweeper.close()
        assert process_of(world, other.sweeper.owner)["gone_at"] is None
        assert running.result(20).outcome is Outcome.REFRESHED


def test_a_removed_row_settles_nothing(world: World) -> None:
    """A process that has to register anew does not thereby call settled what it has under way."""
    connected = world.connect("strict")
    world.services.sweeper.start()
    world.sim.fault("hang_after", dialect="strict", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected)
        eventually(lambda: world.grant(connected)["under_way"] == 1)
        world.rows("DELETE FROM processes RETURNING id")
        world.services.sweeper.sweep()
        row = process_of(world, world.services.sweeper.owner)
        presented_at = world.row(connected)["presented_at"]
        assert row["settled_until"] <= presented_at
        assert running.result(20).outcome is Outcome.REFRESHED
