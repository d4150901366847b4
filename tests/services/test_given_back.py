"""Recoveries that were claimed and given back: the doubt is nobody's, and still a doubt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.providers import ReadyProvider
from tests.services.world import World

pytestmark = pytest.mark.servers


def test_a_doubt_whose_recovery_was_given_back_waits_for_the_end_of_the_wave(world: World) -> None:
    """Its recovery was claimed and nothing was sent, so that nobody's attempt is unresolved any more."""
    connected = world.connect("strict")
    world.sim.fault("drop_before", dialect="strict")
    assert world.refresh(connected).code == "in_doubt"
    world.pass_time(timedelta(minutes=20), connected)
    world.update(
        "refused_at = now(), refresh_due_at = now(), expires_at = now(), not_before = NULL", connected
    )
    claimed = world.claim(connected, recovery=True)
    assert claimed.state.attempt_id is not None
    assert world.services.tokens.release(connected.id, claimed.state.attempt_id)
    provider = world.services.desk.ready("strict")
    assert isinstance(provider, ReadyProvider)
    world.rows(
        "INSERT INTO verdict_holds (id, scope, provider_id, presented, refused)"
        " VALUES (gen_random_uuid(), %s, 'strict', 5, 5) RETURNING 1",
        provider.scope.key,
    )
    before = world.presented(connected)

    assert world.refresh(connected).code == "in_doubt"
    row = world.row(connected)
    assert (row["status"], world.presented(connected)) == (Status.IN_DOUBT, before)
    assert row["refresh_due_at"] - row["now"] > timedelta(minutes=4)

    world.rows("UPDATE verdict_holds SET ended_at = now(), ended_as = 'dismissed' RETURNING 1")
    world.update("refresh_due_at = now()", connected)
    assert world.refresh(connected).outcome is Outcome.REFRESHED
