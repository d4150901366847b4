"""Health checks: what a provider says of an access token, and what it may lead to."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from pydantic import SecretStr

from domain.asks import Outcome
from domain.health import CheckOutcome
from domain.token import Status
from storage.tokens.rows import token_ref
from tests.services.simulated import DIALECTS
from tests.services.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("provider_id", DIALECTS)
def test_a_living_token_is_verified(world: World, provider_id: str) -> None:
    connected = world.connect(provider_id)

    result = world.check(connected)

    row = world.row(connected)
    assert (result.outcome, result.code) == (CheckOutcome.HEALTHY, None)
    assert abs(row["last_verified_at"] - row["now"]) < timedelta(seconds=10)
    assert row["check_due_at"] - row["now"] > timedelta(hours=5)
    assert world.sim.report()["total"]["checks"] == 1
    assert world.presented(connected) == 0


def test_what_cannot_be_refreshed_dies_by_the_second_refusal(world: World) -> None:
    """One refusal is a mistake until a second one says the same; then one alert, and nothing is deleted."""
    connected = world.connect("wordpress")
    world.sim.revoke([connected.grant.grant_id])

    first = world.check(connected)
    row = world.row(connected)
    assert (first.outcome, row["status"], row["check_failures"]) == (CheckOutcome.DEFERRED, Status.ACTIVE, 1)
    assert timedelta(0) < row["check_due_at"] - row["now"] <= timedelta(minutes=5)
    assert world.alerts() == []
    second = world.check(connected)
    third = world.check(connected)

    assert [second.outcome, third.outcome] == [CheckOutcome.NEEDS_REAUTH] * 2
    assert (second.code, third.code) == ("token_rejected", "token_revoked")
    row = world.row(connected)
    assert (row["status"], row["reauth_reason"], row["check_due_at"]) == (
        "needs_reauth",
        "token_revoked",
        None,
    )
    assert row["access_token"] is not None
    assert world.alert_kinds() == ["needs_reauth"]
    assert [what for what, _ in world.events()] == ["opened"]
    assert world.sim.report()["total"]["checks"] == 2


def test_a_refusal_and_a_recovery_leave_nothing_behind(world: World) -> None:
    """A second check that succeeds ends the suspicion."""
    connected = world.connect("wordpress")
    world.sim.fault("status", endpoint="check", dialect="wordpress", status=400, error="invalid_token")

    assert world.check(connected).outcome is CheckOutcome.DEFERRED
    assert world.check(connected).outcome is CheckOutcome.HEALTHY

    assert world.row(connected)["check_failures"] == 0
    assert world.alerts() == []


@pytest.mark.parametrize(
    ("provider_id", "fault"), [("gsc", "status"), ("strict", "status"), ("bing", "code")]
)
def test_a_refused_access_token_causes_one_refresh(world: World, provider_id: str, fault: str) -> None:
    """A 401, or Bing's 18: refresh now, look at the new token soon, and never refresh for ever."""
    connected = world.connect(provider_id)
    world.refresh(connected)
    world.pass_time(timedelta(minutes=5), connected)
    dialect = connected.grant.dialect
    if fault == "status":
        world.sim.fault("status", endpoint="check", dialect=dialect, status=401, count=None)
    else:
        world.sim.fault("provider_error", endpoint="check", dialect=dialect, code=18, count=None)

    first = world.check(connected)
    assert (first.outcome, first.code) == (CheckOutcome.DEFERRED, "token_rejected")
    assert world.row(connected)["refresh_due_at"] <= world.row(connected)["now"]
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    row = world.row(connected)
    assert row["check_due_at"] - row["now"] <= timedelta(minutes=5)
    world.pass_time(timedelta(minutes=5), connected)
    second = world.check(connected)

    assert second.outcome is CheckOutcome.DEFERRED
    row = world.row(connected)
    assert (row["status"], row["check_failures"]) == (Status.ACTIVE, 2)
    assert row["refresh_due_at"] > row["now"]
    assert world.refresh(connected).outcome is Outcome.FRESH
    assert world.presented(connected) == 2


def test_bings_codes_are_told_apart(world: World) -> None:
    """Throttling, a missing right and an unknown number each mean something else, and never death."""
    connected = world.connect("bing")
    expected = {
        4: (CheckOutcome.RATE_LIMITED, "throttled"),
        14: (CheckOutcome.INSUFFICIENT_SCOPE, "not_authorized"),
        3: (CheckOutcome.UNREACHABLE, "invalid_api_key"),
        99: (CheckOutcome.UNREACHABLE, "http_400"),
    }
    seen = {}
    for code in expected:
        world.sim.fault("provider_error", endpoint="check", dialect="bing", code=code)
        result = world.check(connected)
        seen[code] = (result.outcome, result.code)

    assert seen == expected
    row = world.row(connected)
    assert (row["status"], row["check_failures"]) == (Status.ACTIVE, 0)


def test_a_verdict_about_a_token_that_was_replaced_is_dropped(world: World) -> None:
    """The check was under way when a refresh landed: its 401 was about another token."""
    connected = world.connect("strict")
    world.sim.fault("hang_after", endpoint="check", dialect="strict", seconds=2)
    results = []
    checker = threading.Thread(target=lambda: results.append(world.check(connected)))
    checker.start()
    eventually(lambda: not world.sim.faults(), what="the check has arrived")
    assert world.refresh(connected).outcome is Outcome.REFRESHED

    checker.join(30)

    assert (results[0].outcome, results[0].code) == (CheckOutcome.DEFERRED, "version_moved")
    row = world.row(connected)
    assert (row["last_verified_at"], row["check_failures"], row["version"]) == (None, 0, 2)


def test_a_check_does_not_hurry_a_doubt(world: World) -> None:
    """The access token is refused while a rotation is in doubt: recovery still waits for its time."""
    connected = world.connect("window")
    world.sim.fault("drop_before", dialect="window")
    assert world.refresh(connected).code == "in_doubt"
    due = world.row(connected)["refresh_due_at"]
    world.sim.fault("status", endpoint="check", dialect="window", status=401)

    world.check(connected)

    assert world.row(connected)["refresh_due_at"] == due
    assert world.row(connected)["status"] == Status.IN_DOUBT
    assert world.refresh(connected).code == "in_doubt"
    assert world.presented(connected) == 1


@pytest.mark.parametrize(
    ("order", "outcome"),
    [
        ({"kind": "status", "status": 503}, CheckOutcome.UNREACHABLE),
        ({"kind": "status", "status": 500}, CheckOutcome.UNREACHABLE),
        ({"kind": "drop_before"}, CheckOutcome.UNREACHABLE),
        ({"kind": "redirect"}, CheckOutcome.UNREACHABLE),
        ({"kind": "invalid_json"}, CheckOutcome.HEALTHY),
        ({"kind": "status", "status": 429, "retry_after": 700}, CheckOutcome.RATE_LIMITED),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else str(value),
)
def test_trouble_with_a_check_says_nothing_about_the_token(
    world: World, order: dict[str, object], outcome: CheckOutcome
) -> None:
    connected = world.connect("gsc")
    kind = str(order.pop("kind"))
    world.sim.fault(kind, endpoint="check", dialect="google", **order)

    result = world.check(connected)

    row = world.row(connected)
    assert result.outcome is outcome
    assert (row["status"], row["check_failures"]) == (Status.ACTIVE, 0)
    assert row["check_due_at"] > row["now"]
    order["kind"] = kind
    if "retry_after" in order:
        assert row["check_due_at"] - row["now"] > timedelta(seconds=690)


def test_a_throttled_api_is_left_alone_by_everybody(world: World) -> None:
    """The API's Retry-After stops all checks of the provider, and none of its refreshes."""
    first, second = world.connect_many("gsc", 2)
    world.sim.fault("status", endpoint="check", dialect="google", status=429, retry_after=300)
    assert world.check(first).outcome is CheckOutcome.RATE_LIMITED

    eventually(lambda: world.check(second).code == "rate_limited", seconds=5)

    assert world.check(second).outcome is CheckOutcome.DEFERRED
    assert world.sim.report()["dialects"]["google"]["checks"] == 1
    assert world.refresh(second).outcome is Outcome.REFRESHED


def test_an_expired_token_is_not_asked_about(world: World) -> None:
    """It is refused by rights; the check comes back when the refresh has had its turn."""
    connected = world.connect("strict")
    world.pass_time(timedelta(hours=2), connected)
    world.update("check_due_at = now()", connected)

    result = world.check(connected)

    assert (result.outcome, result.code) == (CheckOutcome.DEFERRED, "expired")
    assert world.row(connected)["check_due_at"] > world.row(connected)["now"]
    assert world.sim.report()["total"]["checks"] == 0


def test_a_token_that_cannot_be_sent_is_an_alert_and_no_crash(world: World) -> None:
    """What is stored is no token: the check says so, and does not come back at once."""
    connected = world.connect("wordpress")
    store = world.services.tokens
    sealed = store._sealer.seal(SecretStr("t\u00f6ken\n"), token_ref("access_token", connected.id))
    world.rows(
        "UPDATE tokens SET access_token = %s WHERE connection_id = %s RETURNING 1", sealed, connected.id
    )

    result = world.check(connected)

    assert (result.outcome, result.code) == (CheckOutcome.DEFERRED, "not_presentable")
    assert world.alert_kinds() == ["failing"]
    assert world.row(connected)["check_due_at"] > world.row(connected)["now"]


def test_a_refused_check_makes_nothing_due_before_its_backoff(world: World) -> None:
    """What is due and may not be presented would be published again and again, before those who may."""
    connected = world.connect("strict")
    world.update(
        "refresh_due_at = now() + interval '30 minutes', not_before = now() + interval '20 minutes',"
        " failures = 3, check_due_at = now()",
        connected,
    )
    world.sim.fault("status", endpoint="check", dialect="strict", status=401)
    world.check(connected)

    row = world.row(connected)
    assert row["check_failures"] == 1
    assert row["refresh_due_at"] == row["not_before"]
