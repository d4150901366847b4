"""Waves of refusals: nobody is declared dead while one lasts, and afterwards the refused are judged."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from tests.services.waves import QUIET, ask, dead, endings, let_pass, refuse, revoke, statuses, waves
from tests.services.world import World

pytestmark = pytest.mark.servers


def test_a_wave_that_is_not_real_kills_nobody(world: World) -> None:
    """The provider refuses everybody for a while: one alert opened and resolved, all refreshed afterwards."""
    many = world.connect_many("gsc", 8)
    refuse(world)

    results = ask(world, many)

    assert [result.outcome for result in results[:4]] == [Outcome.NEEDS_REAUTH] * 4
    assert [result.outcome for result in results[4:]] == [Outcome.DEFERRED] * 4
    assert {result.code for result in results[4:]} == {"refused_under_hold"}
    assert all(result.retry_at is not None for result in results[4:])
    assert statuses(world, many) == [Status.ACTIVE] * 8
    assert world.alert_kinds() == ["verdict_hold"]
    assert world.alerts()[0]["severity"] == "critical"
    # Not even for a moment: what is refused from now on is no sentence that has to be taken back.
    assert [world.kinds(item) for item in many[5:]] == [["imported", "refused_under_hold"]] * 3
    ask(world, many)
    world.services.incidents.watch()
    assert endings(world) == [None]
    assert world.alerts()[0]["count"] == 1

    world.sim.clear_faults()
    assert {result.outcome for result in ask(world, many)} == {Outcome.REFRESHED}
    # Refusals are known to be false by now: not even who was refused again may have been so lately.
    world.services.incidents.watch()
    assert endings(world) == [None]
    let_pass(world, QUIET)
    world.services.incidents.watch()

    assert endings(world) == ["recovered"]
    assert world.alerts() == []
    assert all(world.alive(item) and world.opens(item) for item in many)
    assert world.row(many[0])["refused_at"] is None
    told = Counter(event for event, cause in world.events() if "verdict_hold" in cause)
    assert told == {"opened": 1, "resolved": 1}
    # Who was sentenced before the threshold was reached was told of, and that was taken back.
    assert all(event == "resolved" for event, _ in world.events()[-1:])


def test_who_was_sentenced_before_the_threshold_is_reprieved(world: World) -> None:
    """Four deaths are taken back with their alerts when the fifth refusal makes a wave of them."""
    many = world.connect_many("gsc", 5)
    refuse(world)
    ask(world, many[:4])
    assert dead(world, many) == many[:4]
    assert world.alert_kinds() == ["needs_reauth"] * 4

    ask(world, many[4:])

    assert dead(world, many) == []
    assert world.alert_kinds() == ["verdict_hold"]
    for item in many:
        row = world.row(item)
        assert (row["reauth_reason"], row["alerted"], row["failures"]) == (None, False, 1)
        assert timedelta() < row["refresh_due_at"] - row["now"] <= timedelta(seconds=30)
        assert row["not_before"] == row["refresh_due_at"]
        assert world.kinds(item)[-2:] == ["needs_reauth", "reprieved"]


def test_a_wave_that_is_real_ends_and_the_refused_are_judged(world: World) -> None:
    """Of twenty, six have left: a hold, the others succeed, it ends, and the six die one by one."""
    many = world.connect_many("window", 20)
    left, others = many[:6], many[6:]
    revoke(world, *left)

    ask(world, left)
    assert (dead(world, many), endings(world)) == ([], [None])
    assert {result.outcome for result in ask(world, others)} == {Outcome.REFRESHED}
    world.services.incidents.watch()
    assert endings(world) == [None], "there were new refusals a moment ago"
    let_pass(world, QUIET)
    world.services.incidents.watch()
    assert endings(world) == ["recovered"]
    assert world.alerts() == []

    for number, item in enumerate(left, start=1):
        assert ask(world, [item])[0].outcome is Outcome.NEEDS_REAUTH
        assert dead(world, many) == left[:number]
    assert world.alert_kinds() == ["needs_reauth"] * 6
    assert statuses(world, others) == [Status.ACTIVE] * 14
    assert endings(world) == ["recovered"]


def test_a_wave_that_is_real_and_total_waits_for_an_operator(world: World) -> None:
    """Nobody succeeds: it stays for hours, whoever looks; confirmed, all are dead and told of."""
    many = world.connect_many("gsc", 6)
    revoke(world, *many)
    ask(world, many)
    for _ in range(3):
        let_pass(world, timedelta(hours=1))
        ask(world, many)
        world.services.incidents.watch()
    (wave,) = waves(world)
    assert (wave["ended_as"], dead(world, many)) == (None, [])
    assert world.alert_kinds() == ["verdict_hold"]

    assert world.services.rulings.confirm(wave["id"]) == 6

    assert dead(world, many) == many
    assert {world.row(item)["reauth_reason"] for item in many} == {"grant_rejected"}
    assert world.alert_kinds() == ["needs_reauth"] * 6
    assert endings(world) == ["confirmed"]
    # For a day whoever is refused is judged at once, however many they are.
    more = world.connect_many("gsc", 6)
    revoke(world, *more)
    assert {result.outcome for result in ask(world, more)} == {Outcome.NEEDS_REAUTH}
    world.services.incidents.watch()
    assert (dead(world, more), endings(world)) == (more, ["confirmed"])
    let_pass(world, timedelta(hours=25))
    last = world.connect_many("gsc", 5)
    revoke(world, *last)
    ask(world, last)
    assert (dead(world, last), endings(world)) == ([], ["confirmed", None])


def test_a_dismissed_wave_tries_the_refused_again(world: World) -> None:
    """The mistake is over: who lives is refreshed, who does not dies by the next refusal."""
    many = world.connect_many("gsc", 7)
    refuse(world)
    ask(world, many)
    for _ in range(5):
        ask(world, many)
    world.sim.clear_faults()
    revoke(world, many[0])
    assert all(row["refresh_due_at"] - row["now"] > timedelta(minutes=5) for row in map(world.row, many))

    assert world.services.rulings.dismiss(waves(world)[0]["id"]) == 7

    for row in map(world.row, many):
        assert row["refresh_due_at"] - row["now"] <= timedelta(seconds=0.7)
        assert row["not_before"] == row["refresh_due_at"]
    results = ask(world, many)
    assert results[0].outcome is Outcome.NEEDS_REAUTH
    assert {result.outcome for result in results[1:]} == {Outcome.REFRESHED}
    assert endings(world) == ["dismissed"]
    assert world.alert_kinds() == ["needs_reauth"]


@pytest.mark.parametrize("count", [3, 4])
def test_an_app_that_cannot_have_a_wave_is_judged_alone(world: World, count: int) -> None:
    """With fewer than five connections each refusal is what it says, as without any of this."""
    many = world.connect_many("strict", count)
    revoke(world, *many)

    results = ask(world, many)

    assert {result.outcome for result in results} == {Outcome.NEEDS_REAUTH}
    world.services.incidents.watch()
    assert (dead(world, many), waves(world)) == (many, [])


def test_a_small_app_can_have_a_wave(world: World) -> None:
    """Of six, five are refused: held; the sixth succeeds and is all the others there are."""
    many = world.connect_many("gsc", 6)
    revoke(world, *many[:5])
    ask(world, many)
    assert (dead(world, many), endings(world)) == ([], [None])

    let_pass(world, QUIET)
    world.services.incidents.watch()

    assert endings(world) == ["recovered"]


def test_ordinary_churn_is_no_wave(world: World) -> None:
    """Six of forty leave within ten minutes: each is declared dead at once, and nothing is held."""
    many = world.connect_many("gsc", 40)
    ask(world, many[6:])
    revoke(world, *many[:6])

    results = ask(world, many[:6])

    assert {result.outcome for result in results} == {Outcome.NEEDS_REAUTH}
    world.services.incidents.watch()
    assert (dead(world, many), waves(world)) == (many[:6], [])


def test_refusals_of_an_hour_are_no_wave(world: World) -> None:
    """Ten refusals, of which no five fall into ten minutes, are ten users."""
    many = world.connect_many("gsc", 10)
    revoke(world, *many)

    for item in many:
        assert ask(world, [item])[0].outcome is Outcome.NEEDS_REAUTH
        let_pass(world, timedelta(minutes=3))

    assert waves(world) == []


def test_definitions_that_share_an_app_share_their_wave(world: World) -> None:
    """Three refused here and three there, at one endpoint with one client id, are six of one group."""
    world.services = world.wire_gsc_too()
    many = world.connect_many("gsc", 3) + world.connect_many("gsc", 3, as_provider="gsc-too")
    refuse(world)

    ask(world, many)

    assert (dead(world, many), endings(world)) == ([], [None])


def test_a_wave_in_a_slow_group_ends(world: World) -> None:
    """Its tokens live for weeks: the others succeed one by one, never five of them within ten minutes."""
    many = world.connect_many("gsc", 11)
    left, others = many[:6], many[6:]
    revoke(world, *left)
    ask(world, left)
    assert endings(world) == [None]

    for item in others:
        let_pass(world, timedelta(hours=3))
        world.services.incidents.watch()
        assert endings(world) == [None]
        assert ask(world, [item])[0].outcome is Outcome.REFRESHED
    world.services.incidents.watch()

    assert endings(world) == ["recovered"]
    assert world.alerts() == []
