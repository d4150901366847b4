"""Callers who want a token now: many at once, forced, conditional, for tokens that cannot be had."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from domain.asks import Outcome, RefreshAsk
from services.refresh.result import RefreshResult
from services.wiring import Services
from tests.services.world import DEMANDED, FORCED, World

pytestmark = pytest.mark.servers
PATIENCE = timedelta(seconds=30)


@pytest.mark.parametrize("provider_id", ["strict", "gsc"])
def test_fifty_callers_of_two_processes_cause_one_presentation(world: World, provider_id: str) -> None:
    """All get the one new token, whoever presented it."""
    world.sim.configure("strict" if provider_id == "strict" else "google", latency=300)
    connected = world.connect(provider_id)
    world.update("expires_at = now() + interval '5 seconds'", connected)
    processes = (world.services, world.wire())
    barrier = threading.Barrier(50)

    def ask(services: Services) -> RefreshResult:
        barrier.wait()
        return services.refresh.refresh(connected.id, DEMANDED, patience=PATIENCE)

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(ask, [processes[number % 2] for number in range(50)]))

    assert {result.outcome for result in results} == {Outcome.REFRESHED, Outcome.FRESH}
    assert [result.outcome for result in results].count(Outcome.REFRESHED) == 1
    assert {result.version for result in results} == {2}
    assert world.presented(connected) == 1
    assert world.sim.incidents() == []


def test_scheduled_and_forced_at_once_present_once(world: World) -> None:
    """Whatever the reasons, twenty attempts at the same version come to one presentation."""
    world.sim.configure("strict", latency=200)
    connected = world.connect("strict")
    other = world.wire()
    asks = [RefreshAsk(scheduled=True), FORCED, DEMANDED, RefreshAsk(if_version=1)] * 5
    barrier = threading.Barrier(len(asks))

    def ask(numbered: tuple[int, RefreshAsk]) -> RefreshResult:
        number, wanted = numbered
        barrier.wait()
        return world.refresh(
            connected, wanted, services=(world.services, other)[number % 2], patience=PATIENCE
        )

    with ThreadPoolExecutor(len(asks)) as pool:
        results = list(pool.map(ask, enumerate(asks)))

    assert [result.outcome for result in results].count(Outcome.REFRESHED) == 1
    assert {result.version for result in results if result.version is not None} == {2}
    assert world.presented(connected) == 1
    assert world.sim.incidents() == []


def test_force_keeps_the_minimum_interval(world: World) -> None:
    """Sixty seconds between two refreshes that somebody asks for; then force refreshes what is fresh."""
    connected = world.connect("strict")
    world.refresh(connected)

    at_once = world.refresh(connected, FORCED)
    world.pass_time(timedelta(seconds=61), connected)
    later = world.refresh(connected, FORCED)

    assert (at_once.outcome, at_once.code) == (Outcome.DEFERRED, "minimum_interval")
    assert at_once.retry_at is not None
    assert timedelta(seconds=50) < at_once.retry_at - world.row(connected)["now"] <= timedelta(seconds=60)
    assert (later.outcome, later.version) == (Outcome.REFRESHED, 3)
    assert world.presented(connected) == 2


def test_force_respects_backoff(world: World) -> None:
    """A token that is held off after a failure is not presented, however it is asked for."""
    connected = world.connect("gsc")
    world.pass_time(timedelta(minutes=59, seconds=10), connected)
    world.sim.fault("status", dialect="google", status=503)
    world.refresh(connected)

    results = [world.refresh(connected, ask) for ask in (FORCED, DEMANDED, RefreshAsk(if_version=1))]

    assert {result.outcome for result in results} == {Outcome.DEFERRED}
    assert {result.code for result in results} == {"unavailable"}
    assert all(result.retry_at == world.row(connected)["not_before"] for result in results)
    assert world.presented(connected) == 1


def test_a_caller_after_a_401_names_the_version_that_failed(world: World) -> None:
    """Only while it is still the row's version is it a reason to refresh."""
    connected = world.connect("strict")
    world.update("refresh_due_at = now() + interval '40 minutes'", connected)

    first = world.refresh(connected, RefreshAsk(if_version=1))
    second = world.refresh(connected, RefreshAsk(if_version=1))
    third = world.refresh(connected, RefreshAsk(if_version=2))

    assert (first.outcome, first.version) == (Outcome.REFRESHED, 2)
    assert (second.outcome, second.version) == (Outcome.FRESH, 2)
    assert (third.outcome, third.code) == (Outcome.DEFERRED, "minimum_interval")
    assert world.presented(connected) == 1


def test_validity_is_asked_for_up_to_half_the_lifetime(world: World) -> None:
    """A day of validity from an hourly token would refresh it at every call."""
    connected = world.connect("strict")
    world.refresh(connected)
    world.pass_time(timedelta(minutes=20), connected)
    day = RefreshAsk(min_validity=timedelta(days=1))

    early = world.refresh(connected, day)
    world.pass_time(timedelta(minutes=11), connected)
    late = world.refresh(connected, day)

    assert early.outcome is Outcome.FRESH
    assert late.outcome is Outcome.REFRESHED
    assert world.presented(connected) == 2


def test_what_needs_a_person_is_said_without_a_presentation(world: World) -> None:
    """A dead grant is presented once, and never again, not even by force."""
    connected = world.connect("strict")
    world.sim.revoke([connected.grant.grant_id])
    assert world.refresh(connected).outcome is Outcome.NEEDS_REAUTH

    again = [world.refresh(connected, ask) for ask in (DEMANDED, FORCED, RefreshAsk(scheduled=True))]

    assert {(result.outcome, result.code) for result in again} == {(Outcome.NEEDS_REAUTH, "grant_rejected")}
    assert world.presented(connected) == 1
    assert world.alert_kinds() == ["needs_reauth"]
    assert world.events() == [("opened", f"connection:{connected.id}:needs_reauth")]
    assert world.row(connected)["access_token"] is not None


def test_what_never_expires_is_not_refreshable(world: World) -> None:
    """Neither asked nor forced does WordPress see a token request."""
    connected = world.connect("wordpress")

    results = [world.refresh(connected, ask) for ask in (DEMANDED, FORCED, RefreshAsk(scheduled=True))]

    assert {result.outcome for result in results} == {Outcome.NOT_REFRESHABLE}
    assert world.sim.report()["total"]["token_requests"] == 0


def test_unknown_and_unconfigured_are_told_apart(world: World) -> None:
    """A connection that is not there, and one whose provider this deployment cannot call."""
    missing = world.services.refresh.refresh(uuid4(), DEMANDED)
    connected = world.connect("strict", as_provider="unconfigured")
    waiting = world.refresh(connected, DEMANDED)
    world.update("refresh_due_at = now() + interval '40 minutes'", connected)
    fresh = world.refresh(connected, DEMANDED)

    assert (missing.outcome, missing.code) == (Outcome.NOT_FOUND, "not_found")
    assert (waiting.outcome, waiting.code) == (Outcome.DEFERRED, "provider_not_configured")
    assert fresh.outcome is Outcome.FRESH
    assert world.sim.report()["total"]["token_requests"] == 0
