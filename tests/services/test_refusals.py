"""What a provider answers instead of tokens, and what becomes of the one connection."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from domain.backoff import backoff
from domain.token import Status
from services.wiring import Services
from storage.tokens.claims import Claimed
from storage.tokens.store import TokenStore
from tests.services.world import Connected, World

pytestmark = pytest.mark.servers
MINUTE = timedelta(minutes=1)


def again(world: World, connected: Connected, services: Services | None = None) -> str | None:
    """Let the backoff pass, and refresh once more; return the code."""
    world.update("refresh_due_at = now(), not_before = NULL", connected)
    return world.refresh(connected, services=services).code


@pytest.mark.parametrize("provider_id", ["strict", "window", "gsc"])
def test_what_was_never_sent_is_plainly_retried(world: World, closed_url: str, provider_id: str) -> None:
    """A closed port is no doubt, for any provider: backoff grows, and nothing is lost."""
    services = world.wire(token_url=closed_url)
    connected = world.connect(provider_id)

    waits = []
    for failures in range(1, 4):
        assert again(world, connected, services) == "connect_failed"
        row = world.row(connected)
        assert (row["status"], row["failures"], row["presented_at"]) == (Status.ACTIVE, failures, None)
        assert row["first_presented_at"] is None
        assert row["not_before"] == row["refresh_due_at"]
        waits.append((row["not_before"] - row["now"]).total_seconds())
    assert 14 < waits[0] <= 30
    assert 29 < waits[1] <= 60
    assert 59 < waits[2] <= 120
    assert again(world, connected) is None
    assert world.row(connected)["failures"] == 0
    assert world.presented(connected) == 1


@pytest.mark.parametrize("provider_id", ["gsc", "strict"])
def test_a_server_error_is_a_doubt_where_the_token_may_be_spent(world: World, provider_id: str) -> None:
    connected = world.connect(provider_id)
    world.sim.fault("status", dialect=connected.grant.dialect, status=500)

    world.refresh(connected)

    expected = Status.IN_DOUBT if provider_id == "strict" else Status.ACTIVE
    assert world.row(connected)["status"] == expected
    assert world.alerts() == []


@pytest.mark.parametrize(
    ("fault", "order", "status", "code"),
    [
        ("error_in_200", {"error": "invalid_grant"}, Status.NEEDS_REAUTH, "grant_rejected"),
        ("error_in_200", {"error": "temporarily_unavailable"}, Status.ACTIVE, "temporarily_unavailable"),
        ("error_in_200", {"error": "server_error"}, Status.IN_DOUBT, "in_doubt"),
        ("invalid_json", {}, Status.IN_DOUBT, "in_doubt"),
        ("redirect", {}, Status.ACTIVE, "endpoint_moved"),
        ("status", {"status": 404}, Status.ACTIVE, "endpoint_gone"),
        ("status", {"status": 400, "error": "invalid_request"}, Status.ACTIVE, "invalid_request"),
        ("status", {"status": 418}, Status.ACTIVE, "http_418"),
        ("status", {"status": 400, "error": "sim-rt-strict-0.0.abcdef"}, Status.ACTIVE, "http_400"),
    ],
)
def test_an_answer_is_judged_by_status_and_body_together(
    world: World, fault: str, order: dict[str, object], status: Status, code: str
) -> None:
    connected = world.connect("strict")
    world.sim.fault(fault, dialect="strict", **order)

    result = world.refresh(connected)

    assert (world.row(connected)["status"], result.code) == (status, code)
    assert world.sim.report()["dialects"]["strict"]["elsewhere"] == 0


def test_an_unknown_refusal_is_an_alert_after_five_and_never_a_death(world: World) -> None:
    """Nobody is woken for four; the fifth opens one alert, the sixth counts, success resolves it."""
    connected = world.connect("strict")
    world.sim.fault("status", dialect="strict", status=400, error="invalid_request", count=6)

    told = []
    for _ in range(6):
        assert again(world, connected) == "invalid_request"
        told.append([(alert["kind"], alert["count"]) for alert in world.alerts()])

    assert told == [[]] * 4 + [[("failing", 1)], [("failing", 2)]]
    assert world.row(connected)["status"] == Status.ACTIVE
    assert world.holds() == []
    assert again(world, connected) is None
    assert world.alerts() == []
    cause = f"connection:{connected.id}:failing"
    assert world.events() == [("opened", cause), ("resolved", cause)]


def test_death_takes_the_place_of_failing(world: World) -> None:
    """Once a person must help, no alert goes on saying that it is being retried."""
    connected = world.connect("strict")
    world.sim.fault("status", dialect="strict", status=400, error="invalid_request", count=5)
    for _ in range(5):
        again(world, connected)
    assert world.alert_kinds() == ["failing"]
    world.sim.revoke([connected.grant.grant_id])

    assert again(world, connected) == "grant_rejected"

    assert world.alert_kinds() == ["needs_reauth"]


def test_a_claim_that_is_slow_to_return_shortens_no_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long Postgres' answer was on its way, the whole backoff passes before the next presentation."""
    connected = world.connect("gsc")
    claim = TokenStore.claim

    def slow(*given: Any, **named: Any) -> Claimed | None:
        claimed = claim(*given, **named)
        time.sleep(1.5)
        return claimed

    monkeypatch.setattr(TokenStore, "claim", slow)
    monkeypatch.setattr(world.services.refresh._presentation._failures, "_jitter", lambda: 0.0)
    world.sim.fault("status", dialect="google", status=400, error="invalid_request")

    world.refresh(connected)

    row = world.row(connected)
    least = backoff(1, lifetime=row["expires_at"] - row["issued_at"], jitter=0.0)
    # The failure is written a moment after it was judged.
    assert row["not_before"] > row["last_error_at"] + least - timedelta(seconds=1)
