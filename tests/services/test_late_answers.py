"""Answers that come when nobody expects them any more, and what becomes of them."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from domain.asks import Outcome
from domain.schedule import after_answer
from domain.token import Credentials, Status
from services.providers import ReadyProvider
from services.refresh.result import RefreshResult
from storage.tokens.landing import Landed, Landing
from tests.services.world import SCHEDULED, Connected, World, line_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def slow_refresh(world: World, connected: Connected) -> tuple[threading.Thread, list[RefreshResult]]:
    """Begin a refresh whose answer takes a while, and return when the provider has the request."""
    results: list[RefreshResult] = []
    world.sim.fault("hang_after", dialect=connected.grant.dialect, seconds=3)
    worker = threading.Thread(target=lambda: results.append(world.refresh(connected)))
    worker.start()
    eventually(lambda: world.grant(connected)["generation"] > 0, what="the provider has rotated")
    return worker, results


@pytest.mark.parametrize("status", ["in_doubt", "needs_reauth"])
def test_a_late_answer_lands_whatever_the_status_has_become(world: World, status: str) -> None:
    """A frozen worker's answer makes the row active again and resolves the alert opened meanwhile."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected)
    # Its lease lapses, somebody else finds the row, and in the worse case presents and is refused.
    world.pass_time(timedelta(seconds=41), connected)
    assert world.refresh(connected).code == "in_doubt"
    if status == "needs_reauth":
        world.update("refresh_due_at = now(), presented_at = presented_at - interval '2 hours'", connected)
        world.update("expires_at = now()", connected)
        world.sim.fault("invalid_grant", dialect="strict")
        assert world.refresh(connected).outcome is Outcome.NEEDS_REAUTH
        assert world.alert_kinds() == ["needs_reauth"]
    assert world.row(connected)["status"] == status

    worker.join(30)

    assert results[0].outcome is Outcome.REFRESHED
    assert world.row(connected)["status"] == Status.ACTIVE
    assert world.row(connected)["version"] == 2
    assert world.opens(connected)
    assert world.alerts() == []
    assert world.alive(connected)
    if status == "needs_reauth":
        assert [what for what, _ in world.events()] == ["opened", "resolved"]


def test_a_double_presentation_is_told_as_what_it_is(world: World) -> None:
    """The late answer lands in a grant that the recovery has killed: nobody says that the user revoked it."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected)
    world.pass_time(timedelta(seconds=41), connected)
    assert world.refresh(connected).code == "in_doubt"
    world.update(
        "refresh_due_at = now(), expires_at = now(), presented_at = now() - interval '1 hour'", connected
    )
    assert world.refresh(connected).code == "rotation_probably_lost"

    worker.join(30)
    world.update("refresh_due_at = now(), not_before = NULL", connected)
    refused = world.refresh(connected)

    assert results[0].outcome is Outcome.REFRESHED
    assert (refused.outcome, refused.code) == (Outcome.NEEDS_REAUTH, "rotation_probably_lost")
    (alert,) = world.alerts()
    assert alert["detail"]["reason"] == "rotation_probably_lost"


def answer_to(world: World, connected: Connected, access: str, refresh: str) -> Landing:
    """An answer of somebody else's to the first version."""
    provider = world.services.desk.ready(connected.provider_id)
    assert isinstance(provider, ReadyProvider)
    schedule = after_answer(
        provider.facts, began_at=world.row(connected)["now"], expires_in=timedelta(hours=1), jitter=0.5
    )
    return Landing(
        connection_id=connected.id,
        grant_id=world.row(connected)["grant_id"],
        presented_version=1,
        attempt_id=uuid4(),
        credentials=Credentials(SecretStr(access), SecretStr(refresh)),
        schedule=schedule,
    )


def test_a_spare_is_tried_before_a_grant_is_declared_dead(world: World) -> None:
    """The version had moved on when the true pair arrived; a refusal brings it out again."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected)
    # Another attempt's answer lands first, with a pair that the provider will not honour.
    other = answer_to(world, connected, "sim-at-other", "sim-rt-other")
    assert isinstance(world.services.tokens.land(other), Landed)
    worker.join(30)
    assert (results[0].outcome, results[0].version) == (Outcome.DEFERRED, 2)
    # The lease that the landing left alone runs out, and the provider has come to an end with the other call.
    world.update("refresh_due_at = now(), lease_until = now(), not_before = NULL", connected)

    refused = world.refresh(connected)
    saved = world.refresh(connected)

    assert refused.outcome is Outcome.DEFERRED
    assert (saved.outcome, saved.version) == (Outcome.REFRESHED, 4)
    assert world.opens(connected)
    assert world.alerts() == []
    assert world.kinds(connected) == [
        *("imported", "refreshed", "answer_superseded", "spare_promoted", "refreshed"),
    ]
    assert world.rows("SELECT * FROM spare_tokens") == []


def test_a_spare_that_is_refused_too_ends_in_one_alert(world: World) -> None:
    """Every spare is tried once; then a person is asked."""
    connected = world.connect("strict")
    for name in ("a", "b"):
        world.services.tokens.land(answer_to(world, connected, f"sim-at-{name}", f"sim-rt-{name}"))
    world.update("refresh_due_at = now()", connected)

    outcomes = [world.refresh(connected).outcome for _ in range(4)]

    assert outcomes == [Outcome.DEFERRED, Outcome.NEEDS_REAUTH, Outcome.NEEDS_REAUTH, Outcome.NEEDS_REAUTH]
    assert world.alert_kinds() == ["needs_reauth"]
    assert world.sim.report()["dialects"]["strict"]["token_requests"] == 2


def test_an_answer_for_the_grant_before_lands_nowhere(world: World) -> None:
    """The user connected anew while the old grant's answer was under way."""
    connected = world.connect("strict")
    worker, results = slow_refresh(world, connected)
    anew = world.sim.mint("strict", owner=world.owner)[0]
    user = world.rows("SELECT user_id FROM connections WHERE id = %s", connected.id)[0]["user_id"]

    report, _ = world.import_lines([line_of(anew, user, "strict")], replace=True)
    worker.join(30)

    assert report.outcomes == {"replaced": 1}
    renewed = Connected(connected.id, "strict", anew)
    assert world.opens(renewed)
    assert results[0].outcome is Outcome.FRESH
    world.update("refresh_due_at = now()", connected)
    assert world.refresh(renewed, SCHEDULED).outcome is Outcome.REFRESHED
    assert world.opens(renewed)
    assert world.sim.incidents() == []


@pytest.mark.parametrize("reason", ["grant_rejected", "rotation_probably_lost"])
def test_a_spare_that_comes_after_the_sentence_is_tried(world: World, reason: str) -> None:
    """The answer that keeps the grant alive comes when the version has moved on and its token was refused."""
    connected = world.connect("strict")
    other, _results = slow_refresh(world, connected)
    # Meanwhile another answer to the same version has landed, and its token is refused for good.
    assert isinstance(
        world.services.tokens.land(answer_to(world, connected, "sim-at-other", "sim-rt-other")), Landed
    )
    world.update("refresh_due_at = now(), lease_until = NULL, not_before = NULL", connected)
    world.update("last_error_code = NULL", connected)
    if reason == "rotation_probably_lost":
        world.update("last_error_code = 'presented_twice'", connected)
    world.sim.fault("invalid_grant", dialect="strict")
    refused = world.refresh(connected)
    assert (refused.outcome, refused.code) == (Outcome.NEEDS_REAUTH, reason)
    assert world.alert_kinds() == ["needs_reauth"]

    other.join(30)

    assert world.row(connected)["status"] == Status.ACTIVE
    assert world.opens(connected)
    assert world.alerts() == []
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.alive(connected)


@pytest.mark.parametrize("between", ["failure", "check"])
def test_a_lost_rotation_is_told_whatever_comes_between(world: World, between: str) -> None:
    """An outage, or a refused access token, does not make a refusal after it the user's doing."""
    connected = world.connect("strict")
    world.update("last_error_code = 'presented_twice'", connected)
    if between == "failure":
        world.sim.fault("status", dialect="strict", status=503)
        assert world.refresh(connected).outcome is Outcome.DEFERRED
        assert world.row(connected)["status"] == Status.ACTIVE
    else:
        world.update("check_due_at = now()", connected)
        world.sim.fault("status", dialect="strict", endpoint="check", status=401)
        world.check(connected)
    world.update("refresh_due_at = now(), not_before = NULL", connected)
    world.sim.fault("invalid_grant", dialect="strict")

    assert world.refresh(connected).code == "rotation_probably_lost"
    (alert,) = world.alerts()
    assert alert["detail"]["reason"] == "rotation_probably_lost"
