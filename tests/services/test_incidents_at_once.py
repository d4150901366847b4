"""Waves seen by several processes at once, cut off in between, and how often anybody is presented in one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from domain.asks import Outcome
from domain.errors import GrantRejected
from domain.token import Status
from services.providers import ReadyProvider
from services.scheduling import Work
from storage.groups import Group
from storage.incidents import Census
from tests.services.ending import user_of
from tests.services.test_scheduling import tick
from tests.services.waves import QUIET, ask, dead, endings, let_pass, refuse, revoke, statuses, waves
from tests.services.world import FORCED, SCHEDULED, World, line_of

pytestmark = pytest.mark.servers


def test_two_processes_open_one_hold(world: World) -> None:
    """Twenty refusals at once in two processes: one hold, one alert, and nobody stays dead."""
    services = (world.services, world.wire())
    many = world.connect_many("gsc", 20)
    refuse(world)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask(world, [many[n]], services[n % 2]), range(20)))

    assert endings(world) == [None]
    assert (dead(world, many), world.alert_kinds()) == ([], ["verdict_hold"])


def test_a_sentence_passed_while_another_opened_the_hold_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the hold was there, and wrote after everybody visible had been reprieved."""
    other = world.wire()
    many = world.connect_many("gsc", 6)
    refuse(world)
    ask(world, many[:5])
    assert endings(world) == [None]
    monkeypatch.setattr(other.incidents, "withholds", lambda scope: False)

    (result,) = ask(world, many[5:], other)

    assert world.kinds(many[5])[-2:] == ["needs_reauth", "reprieved"]
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "refused_under_hold")
    assert result.retry_at == world.row(many[5])["refresh_due_at"]
    assert (dead(world, many), world.alert_kinds()) == ([], ["verdict_hold"])


def test_nobody_is_declared_dead_whose_row_has_moved_on(world: World) -> None:
    """The user connects anew while the old grant's refusal is on its way: neither sentence nor alert."""
    connected = world.connect("strict")
    claimed = world.claim(connected)
    provider = world.services.desk.ready("strict")
    assert isinstance(provider, ReadyProvider)
    assert claimed.state.attempt_id is not None
    (anew,) = world.sim.mint("strict", 1, owner=world.owner)
    line = line_of(anew, claimed.ref.user_id, "strict")
    assert world.import_lines([line], replace=True)[0].outcomes == {"replaced": 1}

    failures = world.services.refresh._presentation._failures
    refused = GrantRejected("invalid_grant")
    result = failures.failed(
        claimed, provider, claimed.state.attempt_id, refused, now=claimed.now, sent_at=claimed.now
    )

    assert result is None
    row = world.row(connected)
    assert (row["status"], row["refused_at"], row["failures"]) == (Status.ACTIVE, None, 0)
    assert world.kinds(connected)[-1] == "credentials_replaced"
    assert world.alerts() == []


def test_a_reprieve_that_was_cut_off_is_finished_by_the_tick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that opened the hold died before it took the sentences back."""
    many = world.connect_many("gsc", 5)
    refuse(world)
    with monkeypatch.context() as dying:
        dying.setattr(world.services.incidents, "_reprieve", lambda *_: None)
        ask(world, many)
    assert (dead(world, many), endings(world)) == (many, [None])

    world.services.incidents.watch()

    assert (dead(world, many), world.alert_kinds()) == ([], ["verdict_hold"])


def test_a_wave_that_no_process_saw_whole_is_seen_by_the_tick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sentenced could not look again; the tick opens the hold and takes the sentences back."""
    many = world.connect_many("gsc", 6)
    refuse(world)
    with monkeypatch.context() as blind:
        blind.setattr(world.services.incidents, "sentenced", lambda scope: False)
        ask(world, many)
    assert (dead(world, many), waves(world)) == (many, [])

    world.services.incidents.watch()

    assert (dead(world, many), endings(world)) == ([], [None])


def test_a_hold_is_not_opened_by_a_count_from_before_the_last_one_ended(world: World) -> None:
    """An operator confirms while another process has counted and not yet opened: the confirmation holds."""
    incidents, store = world.services.incidents, world.services.incidents._store
    many = world.connect_many("gsc", 5)
    revoke(world, *many)
    ask(world, many)
    (wave,) = waves(world)
    hold = store.find(wave["id"])
    assert hold is not None
    group = incidents.group_of(hold)
    assert group is not None
    census = store.census(group, window=timedelta(minutes=10), worth=1)
    world.services.rulings.confirm(hold.id)

    alert = world.services.alerts.find(
        world.rows("SELECT id FROM alerts WHERE kind = 'verdict_hold'")[0]["id"]
    )
    assert alert is not None
    assert not store.open(uuid4(), group, census, alert)  # type: ignore[arg-type]  # an alert says what a spec says

    # Nor does a tick that still believes it to be open take the operator's sentences back.
    incidents._reprieve(group, hold, None)
    assert dead(world, many) == many
    assert endings(world) == ["confirmed"]


def test_the_refused_are_presented_no_more_often_than_their_backoff_says(world: World) -> None:
    """Asked by scheduler, callers and force, again and again: one presentation each until its time."""
    many = world.connect_many("gsc", 6)
    refuse(world)
    ask(world, many)
    waits = []
    for times in range(1, 6):
        assert [world.presented(item) for item in many] == [times] * 6
        for item in many:
            assert world.refresh(item, SCHEDULED).outcome is Outcome.FRESH, "not due"
            assert world.refresh(item, FORCED).code == "refused_under_hold"
        assert tick(world, Work.REFRESH).ids == []
        assert [world.presented(item) for item in many] == [times] * 6
        row = world.row(many[0])
        waits.append((row["not_before"] - row["now"]).total_seconds())
        ask(world, many)

    assert all(15 * 2**n - 2 < wait <= 30 * 2**n for n, wait in enumerate(waits)), waits
    assert world.alert_kinds() == ["verdict_hold"], "the wave's alert speaks for all of them"


@pytest.mark.parametrize("ending", ["recovered", "dismissed", "confirmed"])
def test_a_doubt_keeps_its_one_attempt_for_after_the_wave(world: World, ending: str) -> None:
    """Refused under the hold it is not presented again, however often it is due; afterwards once."""
    doubt, other, *many = world.connect_many("strict", 7)
    world.sim.fault("drop_after", dialect="strict", grant_id=doubt.grant.grant_id)
    assert world.refresh(doubt).code == "in_doubt"
    revoke(world, *many)
    ask(world, many)
    assert endings(world) == [None]

    (result,) = ask(world, [doubt])
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "refused_under_hold")
    assert world.row(doubt)["status"] == Status.IN_DOUBT
    for _ in range(4):
        assert ask(world, [doubt])[0].code == "in_doubt"
        world.refresh(doubt, FORCED)
    assert world.presented(doubt) == 2
    assert world.alert_kinds() == ["verdict_hold"]
    assert world.kinds(doubt)[-1] == "recovery_postponed"

    if ending == "recovered":
        ask(world, [other])
        let_pass(world, QUIET)
        world.services.incidents.watch()
    else:
        rulings = world.services.rulings
        {"confirmed": rulings.confirm, "dismissed": rulings.dismiss}[ending](waves(world)[0]["id"])
    assert endings(world) == [ending]
    assert world.row(doubt)["status"] == Status.IN_DOUBT
    row = world.row(doubt)
    assert row["refresh_due_at"] - row["now"] < timedelta(seconds=2)
    ask(world, [doubt])

    assert world.presented(doubt) == 3
    row = world.row(doubt)
    assert (row["status"], row["reauth_reason"]) == (Status.NEEDS_REAUTH, "rotation_probably_lost")


def test_a_hold_ends_when_nobody_is_left_to_be_judged(world: World) -> None:
    """Everybody was refused, and everybody has connected anew: no alert stays open about nobody."""
    many = world.connect_many("gsc", 5)
    revoke(world, *many)
    ask(world, many)
    for item, grant in zip(many, world.sim.mint("google", 5, owner=world.owner), strict=True):
        world.services.incidents.watch()
        assert endings(world) == [None]
        world.import_lines([line_of(grant, user_of(world, item), "gsc")], replace=True)
    world.services.incidents.watch()

    assert (endings(world), world.alerts()) == (["recovered"], [])


def test_a_hold_in_which_nothing_is_called_any_more_is_given_up(world: World) -> None:
    """The operator has mended the client id: the grants go on in another scope, and the alert ends."""
    many = world.connect_many("gsc", 5)
    refuse(world)
    ask(world, many)
    let_pass(world, timedelta(minutes=11))
    mended = world.wire(environment={"EVERGRANT_GSC_CLIENT_ID": "another-client"})

    mended.incidents.watch()

    assert (endings(world), world.alerts(), dead(world, many)) == (["abandoned"], [], [])


def test_a_refusal_under_a_hold_costs_no_token(world: World) -> None:
    """No spare takes the place of the refused one: the refusal proves nothing, and a spare may be worse."""
    *many, kept = world.connect_many("window", 6)
    ask(world, [kept])
    world.rows(
        "INSERT INTO spare_tokens (attempt_id, connection_id, grant_id, version, key_id, access_token,"
        " refresh_token, refresh_digest) SELECT gen_random_uuid(), connection_id, grant_id, 1, key_id,"
        " access_token, refresh_token, refresh_digest FROM tokens WHERE connection_id = %s RETURNING 1",
        kept.id,
    )
    refuse(world, dialect="window")
    ask(world, many)
    assert endings(world) == [None]

    assert ask(world, [kept])[0].code == "refused_under_hold"

    assert world.row(kept)["version"] == 2
    world.sim.clear_faults()
    assert ask(world, [kept])[0].outcome is Outcome.REFRESHED


def test_a_refused_doubt_is_no_sign_of_a_wave(world: World) -> None:
    """Five lost rotations are five lost rotations: each is told of as one, and nothing is held."""
    *many, between = world.connect_many("strict", 6)
    for item in many:
        world.sim.fault("drop_after", dialect="strict", grant_id=item.grant.grant_id)
        world.refresh(item)
        if item is many[2]:
            # Five cuts in a row would be an outage.
            assert world.refresh(between).outcome is Outcome.REFRESHED
    assert statuses(world, many) == [Status.IN_DOUBT] * 5

    ask(world, many)

    world.services.incidents.watch()
    assert (dead(world, many), waves(world)) == (many, [])
    assert {world.row(item)["reauth_reason"] for item in many} == {"rotation_probably_lost"}
    assert {world.row(item)["refused_at"] for item in many} == {None}


def test_a_wave_is_counted_once_in_a_while_and_not_for_each_refusal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of forty are no wave: from the fifth on, the record is read once in two seconds."""
    many = world.connect_many("gsc", 44)
    ask(world, many[10:])
    revoke(world, *many[:7])
    counts: list[Census] = []
    store = world.services.incidents._store
    real = store.census

    def census(group: Group, *, window: timedelta, worth: int) -> Census:
        counts.append(real(group, window=window, worth=worth))
        return counts[-1]

    monkeypatch.setattr(store, "census", census)
    monkeypatch.setattr(world.services.incidents, "_clock", lambda: 100.0)

    ask(world, many[:7])

    assert [each.presented > 0 for each in counts] == [False] * 4 + [True]
    monkeypatch.setattr(world.services.incidents, "_clock", lambda: 102.0)
    revoke(world, many[7])
    ask(world, many[7:8])
    assert (counts[-1].refused, counts[-1].presented) == (8, 42)
    assert waves(world) == []
