"""What a message that somebody else wrote may bring about: it names a connection, and decides nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from tests.services.world import SCHEDULED, Connected, World

pytestmark = pytest.mark.servers


def as_another_provider(world: World, connected: Connected, provider_id: str) -> str | None:
    """Ask as a message does that names another provider than the row; returns the code."""
    result = world.services.refresh.refresh(connected.id, SCHEDULED, provider_id=provider_id)
    assert result.outcome is Outcome.DEFERRED
    return result.code


def test_a_message_does_not_decide_to_whom_a_token_is_sent(world: World) -> None:
    """A refresh token goes to the provider of its row alone, whatever provider a message names."""
    connected = world.connect("strict")
    row = world.row(connected)

    code = as_another_provider(world, connected, "gsc")

    assert code == "wrong_provider"
    assert world.presented(connected) == 0
    assert world.kinds(connected) == ["imported"]
    after = world.row(connected)
    assert (after["status"], after["presented_at"], after["lease_until"]) == (Status.ACTIVE, None, None)
    assert after["refresh_due_at"] == row["refresh_due_at"]
    assert world.alerts() == []
    assert world.refresh(connected).outcome is Outcome.REFRESHED


def test_a_message_does_not_decide_by_whose_rules_a_doubt_is_recovered(world: World) -> None:
    """A lapsed or doubted presentation is left to a message that names its provider."""
    lapsed = world.connect("strict")
    world.claim(lapsed)
    world.pass_time(timedelta(seconds=41), lapsed)

    assert as_another_provider(world, lapsed, "gsc") == "wrong_provider"
    assert world.row(lapsed)["status"] == Status.ACTIVE

    doubted = world.connect("strict")
    world.sim.fault("drop_after", dialect="strict")
    world.refresh(doubted)
    world.update("refresh_due_at = now()", doubted)
    before = world.presented(doubted)

    assert as_another_provider(world, doubted, "gsc") == "wrong_provider"
    assert world.row(doubted)["status"] == Status.IN_DOUBT
    assert world.presented(doubted) == before
