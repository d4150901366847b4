"""Everything goes well, for every dialect."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest

from domain.asks import Outcome
from tests.services.simulated import REFRESHING, ROTATING
from tests.services.world import DEMANDED, SCHEDULED, World
from tests.support.statements import executed

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("provider_id", REFRESHING)
def test_a_due_token_is_refreshed_again_and_again(world: World, provider_id: str) -> None:
    """Each time the version counts, the stored pair is the provider's current one, and nothing is harmed."""
    connected = world.connect(provider_id)

    for version in range(2, 7):
        world.update("refresh_due_at = now() - interval '1 second'", connected)
        result = world.refresh(connected)

        assert (result.outcome, result.version, result.code) == (Outcome.REFRESHED, version, None)
        assert world.opens(connected)
    row = world.row(connected)
    shown = world.grant(connected)
    assert row["version"] == 6
    assert row["status"] == "active"
    assert (row["lease_until"], row["presented_at"], row["first_presented_at"]) == (None, None, None)
    assert row["expires_at"].timestamp() == pytest.approx(shown["access_expires_at"], abs=3)
    assert row["issued_at"] < row["refresh_due_at"] < row["expires_at"]
    assert len(row["spent_digests"]) == (5 if provider_id in ROTATING else 0)
    assert world.kinds(connected) == ["imported", *["refreshed"] * 5]
    assert (shown["presentations"], shown["alive"]) == (5, True)
    assert world.sim.incidents() == []
    assert world.alerts() == []


def test_strict_rotation_holds_for_longer_than_digests_are_kept(world: World) -> None:
    """Forty single-use rotations in a row: each token was presented once, none was lost."""
    connected = world.connect("strict")

    for _ in range(40):
        world.update("refresh_due_at = now()", connected)
        assert world.refresh(connected).outcome is Outcome.REFRESHED

    assert world.row(connected)["version"] == 41
    assert len(world.row(connected)["spent_digests"]) == 32
    assert world.presented(connected) == 40
    assert world.alive(connected)
    assert world.sim.incidents() == []


@pytest.mark.parametrize("provider_id", ["gsc", "strict", "wix-app"])
def test_the_hot_path_is_two_statements(world: World, provider_id: str) -> None:
    """A scheduled refresh claims and lands, and asks Postgres nothing else."""
    one, two = world.connect_many(provider_id, 2)
    world.refresh(one)  # warms what is cached for a second: the breakers
    with executed() as statements:
        result = world.refresh(two)

    assert result.outcome is Outcome.REFRESHED
    hot = [statement for statement, _ in statements if "provider_holds" not in statement]
    assert len(hot) == 2, hot


@pytest.mark.parametrize("provider_id", ["gsc", "strict"])
def test_nothing_is_due_means_nothing_is_presented(world: World, provider_id: str) -> None:
    connected = world.connect(provider_id)
    world.refresh(connected)

    again = [world.refresh(connected, ask) for ask in (SCHEDULED, DEMANDED)]

    assert [result.outcome for result in again] == [Outcome.FRESH] * 2
    assert again[0].version == 2
    assert world.presented(connected) == 1


@pytest.mark.parametrize(("said", "kept"), [("int", True), ("string", True), ("missing", False)])
def test_an_expiry_is_understood_however_it_is_said(world: World, said: str, kept: bool) -> None:
    """A number, a string, or nothing: then it is unknown, but scheduled all the same."""
    world.sim.configure("strict", expires_in=said, lifetime=1800)
    connected = world.connect("strict")

    assert world.refresh(connected).outcome is Outcome.REFRESHED

    row = world.row(connected)
    assert row["refresh_due_at"] > row["now"]
    if kept:
        assert row["expires_at"] - row["issued_at"] == timedelta(minutes=30)
    else:
        assert row["expires_at"] is None


def test_an_expiry_is_never_later_than_the_providers(world: World) -> None:
    """Also when the claim itself took long: the token row was locked by somebody for a while."""
    connected = world.connect("strict")
    with psycopg.connect(world.database_url) as other:
        other.execute("SELECT 1 FROM tokens WHERE connection_id = %s FOR UPDATE", (connected.id,))
        worker = threading.Thread(target=world.refresh, args=(connected,))
        worker.start()
        worker.join(1.5)
        assert worker.is_alive()
    worker.join(30)

    ours, theirs = world.row(connected)["expires_at"], world.grant(connected)["access_expires_at"]
    assert theirs - 1.5 <= ours.timestamp() <= theirs + 0.05


def test_an_expiry_counts_from_the_moment_the_request_began(world: World) -> None:
    """The provider's clock may have started then: what the answer takes is not added to the token's life."""
    slow = timedelta(seconds=1.5)
    world.sim.configure("strict", latency=slow / timedelta(milliseconds=1))
    connected = world.connect("strict")
    asked_at = world.row(connected)["now"]

    assert world.refresh(connected).outcome is Outcome.REFRESHED

    row = world.row(connected)
    began_at = row["expires_at"] - timedelta(hours=1)
    assert began_at == row["issued_at"]
    assert asked_at <= began_at <= row["last_refreshed_at"] - slow


def test_a_scope_that_the_answer_names_is_stored(world: World) -> None:
    """An import without scopes learns them with the first answer."""
    connected = world.connect("strict")
    world.rows("UPDATE connections SET scope = '{}' WHERE id = %s RETURNING id", connected.id)

    world.refresh(connected)

    assert world.row(connected)["scope"] == ["read"]
