"""Before a doubt is recovered: what is staged lands, and what may still turn up is waited for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from domain.asks import Outcome
from domain.token import Status
from services.wiring import Services
from storage.keys import KeyRing, generate
from storage.sealing import Sealer
from tests.services.away import Away, landed_once, process_of, shelved, spooled
from tests.services.stager import Stager
from tests.services.world import Connected, World

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("by_hand")]


def make_due(world: World, connected: Connected) -> None:
    """The lease has lapsed, the row is in doubt, and its access token is about to expire."""
    world.pass_time(timedelta(minutes=20), connected)
    move_reports_back(world)
    if world.row(connected)["status"] == Status.ACTIVE:
        world.refresh(connected)
    world.update("refresh_due_at = now(), expires_at = now() + interval '20 seconds'", connected)
    assert world.row(connected)["status"] == Status.IN_DOUBT


def move_reports_back(world: World) -> None:
    """What was told before the time passed moves back with the rows."""
    world.rows("UPDATE processes SET settled_until = settled_until - interval '20 minutes' RETURNING id")


def seal_with(world: World, services: Services, key: str) -> None:
    """Seal what is staged with a key that no process holds: it was taken out too early."""
    sealer = Sealer(KeyRing.parse(SecretStr(f"{key},{world.keys}")))
    for envelope in list(services.sweeper.spool.envelopes()):
        services.sweeper.spool.put(envelope.resealed(sealer))
        services.sweeper.shelf.put(envelope.resealed(sealer))


def doubt_of(world: World, services: Services, provider_id: str = "strict") -> Connected:
    """A doubt whose time has come, presented by these services."""
    connected = world.connect(provider_id)
    world.sim.fault("drop_before", dialect=connected.grant.dialect)
    assert world.refresh(connected, services=services).code == "in_doubt"
    make_due(world, connected)
    return connected


def waits(world: World, connected: Connected, services: Services) -> bool:
    """Ask for the recovery; say whether it was put off for a few seconds."""
    before = world.presented(connected)
    world.update("refresh_due_at = now()", connected)
    result = world.refresh(connected, services=services)
    row = world.row(connected)
    if result.code != "in_doubt":
        return False
    assert world.presented(connected) == before
    assert timedelta(0) < row["refresh_due_at"] - row["now"] <= timedelta(seconds=3)
    return True


def recovers(world: World, connected: Connected, services: Services) -> bool:
    world.update("refresh_due_at = now()", connected)
    return world.refresh(connected, services=services).outcome is Outcome.REFRESHED


@pytest.fixture
def elsewhere(world: World, tmp_path: Path) -> Services:
    """Another machine: it shares Postgres and Redis, and has a spool of its own."""
    services = world.wire(data_dir=tmp_path / "elsewhere")
    services.sweeper.start()
    return services


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_is_staged_lands_before_a_recovery(
    world: World, away: Away, elsewhere: Services, where: str
) -> None:
    """The doubt is due, no sweeper has come by: recovery itself looks, and presents nothing."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected)
    make_due(world, connected)

    result = world.refresh(connected, services=elsewhere if where == "elsewhere" else world.wire())

    assert result.outcome is Outcome.FRESH
    assert (world.presented(connected), world.row(connected)["version"]) == (1, 2)
    world.services.sweeper.sweep()
    landed_once(world, connected)


def test_it_waits_while_the_presenter_lives_and_is_unsettled(world: World, elsewhere: Services) -> None:
    """A living process says when everything that it presented by then is settled; before that, nothing."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = doubt_of(world, presenter)

    assert waits(world, connected, elsewhere)
    assert waits(world, connected, elsewhere)
    presenter.sweeper.sweep()
    assert recovers(world, connected, elsewhere)
    assert world.presented(connected) == 2
    assert world.alive(connected)


def test_it_waits_while_the_presenter_has_the_answer_in_hand(world: World, elsewhere: Services) -> None:
    """Sweeping does not settle what is under way."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=4)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(world.refresh, connected, services=presenter)
        Away(world, "").await_answers(connected)
        make_due(world, connected)
        for _ in range(3):
            presenter.sweeper.sweep()
            move_reports_back(world)
            assert waits(world, connected, elsewhere)
        assert running.result(30).outcome is Outcome.REFRESHED
    landed_once(world, connected)


def test_it_waits_until_somebody_has_looked_at_what_the_dead_left(world: World, elsewhere: Services) -> None:
    """Killed without a word: only who shares its spool can say that nothing is there."""
    connected = world.connect("strict")
    world.sim.fault("hang_before", dialect="strict", seconds=1)
    with Stager(world, connected) as stager:
        stager.go()
        Away(world, "").await_answers(connected)
        stager.kill()
    make_due(world, connected)

    assert waits(world, connected, elsewhere)
    elsewhere.sweeper.sweep()
    assert waits(world, connected, elsewhere)
    world.services.sweeper.start()
    assert process_of(world, stager.owner)["gone_at"] is not None
    assert not waits(world, connected, elsewhere)
    assert world.row(connected)["status"] != Status.IN_DOUBT


def test_a_silent_presenter_has_its_grace(world: World, elsewhere: Services) -> None:
    """A machine that is cut off may come back with the answer; after its grace nobody waits for it."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = doubt_of(world, presenter)
    silent = (
        "UPDATE processes SET settled_until = now() - interval '1 day',"
        " seen_at = now() - interval '1 minute' * %s WHERE id = %s RETURNING id"
    )

    world.rows(silent, 9, presenter.sweeper.owner)
    assert waits(world, connected, elsewhere)
    world.rows(silent, 11, presenter.sweeper.owner)
    assert recovers(world, connected, elsewhere)


def test_what_is_forgotten_is_not_waited_for(world: World, elsewhere: Services) -> None:
    """A presenter without a row was silent for a day."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = doubt_of(world, presenter)
    world.rows("DELETE FROM processes RETURNING id")

    assert recovers(world, connected, elsewhere)


def test_without_rotation_nothing_is_waited_for(world: World, elsewhere: Services) -> None:
    """Presenting again costs nothing: an unsettled presenter is not asked."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = doubt_of(world, presenter, "gsc")
    world.rows("UPDATE processes SET settled_until = now() - interval '1 day', staged = 1 RETURNING id")

    assert recovers(world, connected, elsewhere)


def test_an_answer_whose_key_is_missing_is_kept_and_nothing_is_presented(world: World, away: Away) -> None:
    """One alert tells it; with the key back it lands, and the alert ends by itself."""
    presenter, lost = world.wire(), generate("k2")
    stuck = world.connect("strict")
    presenter.sweeper.start()
    away.stage(stuck, services=presenter)
    seal_with(world, presenter, lost)
    # The presenter's own row is lost too: that the answer lies here is enough.
    world.rows("DELETE FROM processes RETURNING id")

    world.services.sweeper.start()
    make_due(world, stuck)
    assert waits(world, stuck, world.services)
    world.services.sweeper.sweep()
    world.services.housekeeping.run()

    assert world.alert_kinds() == ["staged_unreadable"]
    assert [what for what, _ in world.events()] == ["opened"]
    assert spooled(world) == shelved(world) == [str(stuck.id)]
    assert (world.presented(stuck), world.alive(stuck)) == (1, True)
    world.wire(keys=f"{world.keys},{lost}").sweeper.sweep()
    world.rows("UPDATE alerts SET last_seen_at = now() - interval '2 minutes' RETURNING id")
    world.services.housekeeping.run()
    assert world.alerts() == []
    assert (world.row(stuck)["version"], spooled(world), shelved(world)) == (2, [], [])


def test_a_copy_in_redis_that_nobody_can_open_is_told_once(
    world: World, away: Away, elsewhere: Services
) -> None:
    """Housekeeping does not take the alert back while a sweeper still sees the cause."""
    presenter = world.wire()
    connected = world.connect("strict")
    presenter.sweeper.start()
    away.stage(connected, services=presenter)
    seal_with(world, presenter, generate("k2"))
    for path in (world.data_dir / "spool").glob("*.staged"):
        path.unlink()
    presenter_row = "UPDATE processes SET staged = 0, gone_at = now() WHERE id = %s RETURNING id"
    world.rows(presenter_row, presenter.sweeper.owner)

    for _ in range(3):
        elsewhere.sweeper.sweep()
        elsewhere.housekeeping.run()

    assert [what for what, _ in world.events()] == ["opened"]
    make_due(world, connected)
    assert waits(world, connected, elsewhere)


@pytest.mark.parametrize("damage", [b"", b'{"format": 2}', b'{"format": 1, "connection_id": 5}'])
def test_a_damaged_file_keeps_nobody_else(
    world: World, away: Away, elsewhere: Services, damage: bytes
) -> None:
    """It is kept, told, and nothing is presented over it here; the others land; removed, it is over."""
    # No Redis: its copy would save the answer.
    presenter = world.wire(redis_url="redis://127.0.0.1:1/0")
    presenter.sweeper.start()
    broken, fine = world.connect_many("strict", 2)
    away.stage(broken, fine, services=presenter)
    (file,) = (world.data_dir / "spool").glob(f"{broken.id}.*.staged")
    file.write_bytes(damage)

    world.services.sweeper.start()

    assert world.row(fine)["version"] == 2
    assert world.alert_kinds() == ["staged_unreadable"]
    assert file.name in world.alerts()[0]["help"]
    assert file.read_bytes() == damage
    make_due(world, broken)
    assert waits(world, broken, world.services)
    file.unlink()
    presenter.sweeper.sweep()
    presenter.sweeper.sweep()
    assert not waits(world, broken, world.services)
    world.rows("UPDATE alerts SET last_seen_at = now() - interval '2 minutes' RETURNING id")
    world.services.housekeeping.run()
    assert "staged_unreadable" not in world.alert_kinds()


def test_a_flipped_byte_in_the_seal_does_not_end_the_reports(world: World, away: Away) -> None:
    """A header that names no key is told, and the process goes on reporting how far it has settled."""
    world.services.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected)
    (file,) = (world.data_dir / "spool").glob("*.staged")
    shown = file.read_text(encoding="ascii")
    place = shown.index('"answer": "') + len('"answer": "')
    file.write_text(f"{shown[:place]}////{shown[place + 4 :]}", encoding="ascii")
    before = process_of(world, world.services.sweeper.owner)["seen_at"]

    world.services.sweeper.sweep()

    # The copy in Redis is whole: it lands, and takes the damaged file with it.
    assert (world.row(connected)["version"], spooled(world)) == (2, [])
    assert process_of(world, world.services.sweeper.owner)["seen_at"] > before  # type: ignore[operator]  # an instant


def test_what_has_landed_and_cannot_be_removed_stops_no_recovery(
    world: World, away: Away, elsewhere: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only spool shows an old answer for ever; a newer doubt of its connection is recovered."""
    presenter = world.wire()
    presenter.sweeper.start()
    connected = world.connect("strict")
    away.stage(connected, services=presenter)

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("storage.staging.spool.Spool.remove", read_only)
    presenter.sweeper.sweep()
    assert (world.row(connected)["version"], spooled(world)) == (2, [str(connected.id)])
    world.update("refresh_due_at = now(), last_refreshed_at = NULL", connected)
    world.sim.fault("drop_before", dialect="strict")
    assert world.refresh(connected, services=elsewhere).code == "in_doubt"
    make_due(world, connected)
    elsewhere.sweeper.sweep()
    elsewhere.sweeper.sweep()

    assert recovers(world, connected, presenter)
