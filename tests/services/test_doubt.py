"""Presented, and no answer known: when it is presented again, and what is said if that fails."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.refresh.result import RefreshResult
from tests.services.world import DEMANDED, FORCED, SCHEDULED, Connected, World

pytestmark = pytest.mark.servers
#: Fifteen seconds for the call, thirty for the provider to come to an end with it.
SETTLING = timedelta(seconds=45)
#: A worker of which nothing was heard may have sent as late as its lease allowed: the provider's thirty
#: seconds count from the lease's end.
SILENCE = timedelta(seconds=30)
ASKS = (SCHEDULED, DEMANDED, FORCED)


def doubtful(world: World, provider_id: str, fault: str, **order: object) -> Connected:
    """A connection whose presentation was cut; nobody may touch it yet."""
    connected = world.connect(provider_id)
    world.sim.fault(fault, dialect=connected.grant.dialect, **order)
    result = world.refresh(connected)
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "in_doubt")
    assert world.row(connected)["status"] == Status.IN_DOUBT
    return connected


def untouched(world: World, connected: Connected) -> list[RefreshResult]:
    """Ask in every way; nothing may be presented."""
    before = world.presented(connected)
    results = [world.refresh(connected, ask) for ask in ASKS]
    assert world.presented(connected) == before
    return results


@pytest.mark.parametrize("fault", ["drop_after", "truncated_body", "not_http", "invalid_json"])
def test_a_lost_rotation_is_tried_once_more_as_late_as_the_token_serves(world: World, fault: str) -> None:
    """Single use without a window: one attempt 25 s before expiry, then an honest alert and nothing more."""
    connected = doubtful(world, "strict", fault)

    results = untouched(world, connected)
    row = world.row(connected)
    assert {(result.outcome, result.code) for result in results} == {(Outcome.DEFERRED, "in_doubt")}
    assert {result.retry_at for result in results} == {row["refresh_due_at"]}
    assert row["expires_at"] - row["refresh_due_at"] == timedelta(seconds=25)
    world.pass_time(row["refresh_due_at"] - row["now"] - timedelta(seconds=10), connected)
    untouched(world, connected)

    world.pass_time(timedelta(seconds=11), connected)
    result = world.refresh(connected)

    assert (result.outcome, result.code) == (Outcome.NEEDS_REAUTH, "rotation_probably_lost")
    assert world.presented(connected) == 2
    assert world.row(connected)["status"] == Status.NEEDS_REAUTH
    untouched(world, connected)
    (alert,) = world.alerts()
    assert alert["kind"] == "needs_reauth"
    assert alert["detail"]["reason"] == "rotation_probably_lost"
    said = f"{alert['title']} {alert['help']}"
    assert "the user revoked" not in said
    assert "probably lost" in said


def test_a_lost_answer_is_had_again_inside_the_window(world: World) -> None:
    """After the settling time the same token is presented again: same successor, the grant lives."""
    connected = doubtful(world, "window", "drop_after")
    row = world.row(connected)
    assert abs(row["refresh_due_at"] - row["presented_at"] - SETTLING) < timedelta(seconds=1)
    untouched(world, connected)

    world.pass_time(SETTLING + timedelta(seconds=1), connected)
    result = world.refresh(connected)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert world.opens(connected)
    assert world.row(connected)["status"] == Status.ACTIVE
    assert [incident["kind"] for incident in world.sim.incidents()] == ["window_replay"]
    assert world.alive(connected)
    world.update("refresh_due_at = now()", connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.alive(connected)


def test_a_window_that_has_closed_is_none(world: World) -> None:
    """Found only after the window: the access token is not risked before it is about to expire anyway."""
    connected = doubtful(world, "window", "drop_after")
    world.pass_time(timedelta(seconds=590), connected)

    untouched(world, connected)

    row = world.row(connected)
    assert row["status"] == Status.IN_DOUBT
    assert row["expires_at"] - row["refresh_due_at"] == timedelta(seconds=25)


@pytest.mark.parametrize("provider_id", ["gsc", "wix-legacy", "wix-app"])
def test_without_rotation_it_is_simply_presented_again(world: World, provider_id: str) -> None:
    """Nothing can be lost by it, so only the settling time is waited for."""
    connected = doubtful(world, provider_id, "drop_after")
    untouched(world, connected)

    world.pass_time(SETTLING + timedelta(seconds=1), connected)

    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.opens(connected)
    assert world.alive(connected)
    assert world.alerts() == []


@pytest.mark.parametrize("provider_id", ["strict", "bing", "wix"])
def test_what_the_provider_never_processed_recovers(world: World, provider_id: str) -> None:
    """The cut came before the provider acted: the one late attempt succeeds."""
    connected = doubtful(world, provider_id, "drop_before", reset=True)
    row = world.row(connected)
    world.pass_time(row["refresh_due_at"] - row["now"] + timedelta(seconds=1), connected)

    result = world.refresh(connected)

    assert (result.outcome, result.version) == (Outcome.REFRESHED, 2)
    assert world.opens(connected)
    assert world.alive(connected)
    assert world.sim.incidents() == []
    assert world.alerts() == []


def test_a_recovery_that_is_not_processed_leaves_the_doubt(world: World) -> None:
    """A 503 says nothing about the first presentation; the next attempt is still a recovery."""
    connected = doubtful(world, "strict", "drop_before")
    row = world.row(connected)
    first = row["first_presented_at"]
    world.pass_time(row["refresh_due_at"] - row["now"] + timedelta(seconds=1), connected)
    moved = world.row(connected)["first_presented_at"]
    world.sim.fault("status", dialect="strict", status=503)

    result = world.refresh(connected)

    row = world.row(connected)
    assert first is not None
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "in_doubt")
    assert (row["status"], row["first_presented_at"]) == (Status.IN_DOUBT, moved)
    world.pass_time(row["refresh_due_at"] - row["now"] + SETTLING, connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.sim.incidents() == []


def test_a_killed_worker_leaves_a_doubt_and_never_a_plain_claim(world: World) -> None:
    """The lease lapsed with the presentation unresolved: marked by whoever looks first, recovered by rule."""
    connected = world.connect("gsc")
    abandoned = world.claim(connected)

    held = [world.refresh(connected, ask) for ask in ASKS]
    world.pass_time(timedelta(seconds=41), connected)
    marked = world.refresh(connected)

    assert {(result.outcome, result.code) for result in held} == {(Outcome.DEFERRED, "lease_held")}
    assert (marked.outcome, marked.code) == (Outcome.DEFERRED, "in_doubt")
    row = world.row(connected)
    assert (row["status"], row["last_error_code"]) == (Status.IN_DOUBT, "lease_lapsed")
    assert row["attempt_id"] == abandoned.state.attempt_id
    world.pass_time(SILENCE - timedelta(seconds=2), connected)
    untouched(world, connected)
    world.pass_time(timedelta(seconds=2), connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.kinds(connected) == ["imported", "in_doubt", "refreshed"]
    assert world.presented(connected) == 1


def test_a_recovery_whose_worker_was_killed_settles_as_well(world: World) -> None:
    """The provider may still be working on the second presentation when its lease has lapsed."""
    connected = doubtful(world, "window", "drop_before")
    world.pass_time(SETTLING + timedelta(seconds=1), connected)
    world.claim(connected, recovery=True)
    # The lease is over, the settling time is not.
    world.pass_time(timedelta(seconds=41), connected)

    results = untouched(world, connected)

    assert {result.code for result in results} == {"in_doubt"}
    assert world.kinds(connected).count("in_doubt") == 2, "each doubt has a line of its own"
    world.pass_time(SILENCE, connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.sim.incidents() == []


def test_a_dead_grant_in_doubt_is_told_as_such_where_that_is_known(world: World) -> None:
    """Refused inside its window, a doubtful grant was really revoked."""
    connected = doubtful(world, "window", "drop_before")
    world.sim.revoke([connected.grant.grant_id])
    world.pass_time(SETTLING + timedelta(seconds=1), connected)

    result = world.refresh(connected)

    assert (result.outcome, result.code) == (Outcome.NEEDS_REAUTH, "grant_rejected")


@pytest.mark.parametrize("beginning", ["lapsed", "due"])
def test_many_at_once_make_one_recovery(world: World, beginning: str) -> None:
    """Twenty attempts of two processes find a lapsed lease, or a doubt whose time has come."""
    world.sim.configure("google", latency=300)
    connected = world.connect("gsc")
    world.claim(connected)
    world.pass_time(timedelta(seconds=41), connected)
    if beginning == "due":
        world.refresh(connected)
        world.pass_time(SILENCE, connected)
    services = (world.services, world.wire())
    barrier = threading.Barrier(20)

    def attempt(number: int) -> RefreshResult:
        barrier.wait()
        return world.refresh(connected, ASKS[number % 3], services=services[number % 2])

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(attempt, range(20)))

    assert world.kinds(connected).count("in_doubt") == 1
    refreshed = [result for result in results if result.outcome is Outcome.REFRESHED]
    assert len(refreshed) == world.presented(connected) == (beginning == "due")
    assert world.sim.incidents() == []


@pytest.mark.parametrize(("slow", "sent"), [(24, True), (26, False)])
def test_nothing_is_sent_that_does_not_fit_into_the_lease(
    world: World, monkeypatch: pytest.MonkeyPatch, slow: float, sent: bool
) -> None:
    """The claim came back so late that fifteen of the forty seconds are not left: it is given back."""
    connected = world.connect("strict")
    other = world.wire()
    # Between the claim and the send this process sees its clock, and nothing else, go on.
    presentation = world.services.refresh._presentation
    monkeypatch.setattr(presentation, "_clock", lambda: time.monotonic() + slow)

    result = world.refresh(connected)

    row = world.row(connected)
    assert world.presented(connected) == sent
    assert row["status"] == Status.ACTIVE
    assert (row["presented_at"], row["first_presented_at"], row["lease_until"], row["attempt_id"]) == (
        None,
    ) * 4
    if sent:
        assert result.outcome is Outcome.REFRESHED
    else:
        assert (result.outcome, result.code) == (Outcome.DEFERRED, "lease_too_short")
        assert world.refresh(connected, services=other).outcome is Outcome.REFRESHED
        assert world.presented(connected) == 1


@pytest.mark.acceptance
def test_a_provider_that_hangs_is_left_after_the_deadline(world: World) -> None:
    """Fifteen seconds after the send the call is given up: doubt, and one presentation."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", dialect="strict", seconds=60)

    result = world.refresh(connected)

    row = world.row(connected)
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "in_doubt")
    assert row["last_error_code"] == "timed_out"
    assert timedelta(seconds=14) < row["now"] - row["presented_at"] < timedelta(seconds=25)
    untouched(world, connected)
