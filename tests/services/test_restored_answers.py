"""Answers that were staged when Postgres was lost, and find an older copy of it."""

from __future__ import annotations

import pytest

from domain.asks import Outcome
from domain.token import Status
from services.wiring import Services
from tests.services.away import Away, spooled
from tests.services.restoring import another_process, keep_rows, put_rows_back
from tests.services.world import FORCED, Connected, World
from tests.support.waiting import eventually

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


def go_on(world: World, services: Services) -> None:
    """Let something else happen, and wait until both marks tell of it."""
    world.rows(
        "INSERT INTO activity (connection_id, provider_id, kind)"
        " SELECT connection_id, provider_id, 'checked' FROM tokens RETURNING 1"
    )
    line = world.rows("SELECT max(id) AS id FROM activity")[0]["id"]
    eventually(lambda: [mark.line >= line for mark in services.outside.read().values()] == [True, True])


def accept(services: Services) -> None:
    findings = services.after_restore.look()
    services.after_restore.accept(findings, services.after_restore.fates(findings))
    eventually(lambda: not services.guard.closed)


@pytest.mark.parametrize("known_as", ["missing", "other_grant", "current"])
def test_an_answer_outlives_a_copy_that_nobody_accepts(world: World, away: Away, known_as: str) -> None:
    """The copy was put there by mistake: the newer database comes back, and the answer lands in it."""
    worker = another_process(world)
    worker.sweeper.start()
    if known_as == "missing":
        keep_rows(world)
    connected = world.connect("strict")
    if known_as != "missing":
        keep_rows(world)
    if known_as == "other_grant":
        world.rows("UPDATE kept_tokens SET grant_id = gen_random_uuid() RETURNING 1")
    away.stage(connected, services=worker)
    go_on(world, worker)
    keep_rows(world, "newer")
    put_rows_back(world)
    eventually(lambda: worker.guard.closed)

    worker.sweeper.sweep()
    worker.sweeper.sweep()
    assert spooled(world) == [str(connected.id)]
    assert world.rows("SELECT * FROM pending_revocations") == []

    put_rows_back(world, "newer")
    eventually(lambda: not worker.guard.closed)
    worker.sweeper.sweep()
    assert (world.row(connected)["version"], world.row(connected)["status"]) == (2, Status.ACTIVE)
    assert world.opens(connected)
    assert spooled(world) == []


def test_an_accepted_copy_forgets_what_it_has(world: World, away: Away) -> None:
    """What has landed before the answer of a person is not landed again, and what is gone is dealt with."""
    worker = another_process(world)
    worker.sweeper.start()
    known = world.connect("strict")
    keep_rows(world)
    unknown = world.connect("strict")
    away.stage(known, unknown, services=worker)
    go_on(world, worker)
    put_rows_back(world)
    eventually(lambda: worker.guard.closed)
    worker.sweeper.sweep()
    assert len(spooled(world)) == 2

    accept(worker)
    worker.sweeper.sweep()
    assert spooled(world) == []
    assert (world.row(known)["version"], world.opens(known)) == (2, True)
    assert world.kinds(known).count("refreshed") == 1
