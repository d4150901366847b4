"""Answers that were staged when Postgres was lost, and find an older copy of it."""

from __future__ import annotations

import pytest

from domain.asks import Outcome
from domain.token import Status
from tests.services.away import Away, spooled
from tests.services.restoring import keep_rows, put_rows_back
from tests.services.world import FORCED, Connected, World

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("by_hand")]


def grown_old_with_an_answer(world: World, away: Away) -> Connected:
    """The copy's token was replaced twice since, and the answer to the last one's lies in the spool."""
    connected = world.connect("strict")
    keep_rows(world)
    for _ in range(2):
        world.update("refresh_due_at = now()", connected)
        assert world.refresh(connected).outcome is Outcome.REFRESHED
    world.update("refresh_due_at = now()", connected)
    away.stage(connected)
    put_rows_back(world)
    assert world.row(connected)["version"] == 1
    return connected


def test_a_newer_answer_lands_in_an_older_copy(world: World, away: Away) -> None:
    """It answers a version that the copy has not come to: it is the newest there is, and no spare."""
    connected = grown_old_with_an_answer(world, away)
    services = world.wire()
    services.sweeper.start()

    row = world.row(connected)
    assert (row["version"], row["status"]) == (4, Status.ACTIVE)
    assert world.opens(connected)
    assert world.rows("SELECT * FROM spare_tokens") == []
    assert spooled(world) == []

    before = world.presented(connected)
    findings = services.after_restore.look()
    services.after_restore.accept(findings, services.after_restore.fates(findings))
    world.update("last_refreshed_at = NULL", connected)
    result = world.refresh(connected, FORCED, services=services)
    assert (result.outcome, world.presented(connected)) == (Outcome.REFRESHED, before + 1)
    assert world.alive(connected)
