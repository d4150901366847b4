"""A key ring that lacks the key: kept as it is, told once, and read again when the key is back."""

from __future__ import annotations

import pytest

from domain.asks import Outcome
from domain.health import CheckOutcome
from domain.token import Status
from storage.keys import generate
from tests.services.keyed import wire_without_key
from tests.services.world import FORCED, World

pytestmark = pytest.mark.servers


def test_an_unreadable_token_is_set_aside_until_its_key_is_back(world: World) -> None:
    """Nothing is presented, one critical alert names the key and the way to mend it, and nothing is lost."""
    connected = world.connect("strict")
    blind = wire_without_key(world, "k2")

    result = world.refresh(connected, services=blind)

    row = world.row(connected)
    assert (result.outcome, result.code) == (Outcome.DEFERRED, "unreadable")
    assert (row["status"], row["presented_at"], row["lease_until"]) == (Status.ACTIVE, None, None)
    assert row["not_before"] > row["now"]
    (alert,) = world.alerts()
    assert (alert["kind"], alert["severity"]) == ("unreadable", "critical")
    assert "'k1'" in alert["help"]
    assert "EVERGRANT_KEYS" in alert["help"]
    assert world.refresh(connected, FORCED, services=blind).outcome is Outcome.DEFERRED
    world.update("refresh_due_at = now(), not_before = NULL", connected)
    world.refresh(connected, services=blind)
    assert [alert["count"] for alert in world.alerts()] == [2]
    assert world.presented(connected) == 0

    both = world.wire(keys=f"{generate('k3')},{world.keys}")
    world.update("refresh_due_at = now(), not_before = NULL", connected)

    assert world.refresh(connected, services=both).outcome is Outcome.REFRESHED
    assert world.alerts() == []
    assert world.row(connected)["key_id"] == "k1"
    assert world.opens(connected, both)
    assert world.presented(connected) == 1


def test_an_unreadable_token_that_is_only_checked_is_told_too(world: World) -> None:
    """No refresh would ever notice it at WordPress; the check does, and the next healthy one resolves it."""
    connected = world.connect("wordpress")
    blind = wire_without_key(world, "k2")

    results = [world.check(connected, services=blind) for _ in range(2)]

    assert {(result.outcome, result.code) for result in results} == {(CheckOutcome.DEFERRED, "unreadable")}
    assert [(alert["kind"], alert["count"]) for alert in world.alerts()] == [("unreadable", 2)]
    assert world.row(connected)["check_due_at"] > world.row(connected)["now"]
    assert world.sim.report()["total"]["checks"] == 0
    assert world.check(connected).outcome is CheckOutcome.HEALTHY
    assert world.alerts() == []


def test_a_doubt_stays_a_doubt_when_it_cannot_be_read(world: World) -> None:
    """The recovery finds no key: the beginning of the doubt and its replay window are remembered."""
    connected = world.connect("window")
    world.sim.fault("drop_after", dialect="window")
    world.refresh(connected)
    began = world.row(connected)["first_presented_at"]
    world.update("presented_at = presented_at - interval '1 minute', refresh_due_at = now()", connected)

    result = world.refresh(connected, services=wire_without_key(world, "k2"))

    row = world.row(connected)
    assert (result.code, row["status"], row["first_presented_at"]) == ("unreadable", Status.IN_DOUBT, began)
    world.update("presented_at = presented_at - interval '1 minute', refresh_due_at = now()", connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
    assert world.alerts() == []
    assert world.alive(connected)
