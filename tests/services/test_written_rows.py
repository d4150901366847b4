"""What somebody who can write the tables, and holds no key, can bring about and what not."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from domain.asks import Outcome
from domain.token import Status
from tests.services.world import FORCED, Connected, World

pytestmark = pytest.mark.servers


def put(world: World, connected: Connected, **columns: object) -> None:
    with psycopg.connect(world.database_url) as connection:
        for name, value in columns.items():
            connection.execute(
                f"UPDATE tokens SET {name} = %s WHERE connection_id = %s".encode(),  # noqa: S608 - tests' own words
                (value, connected.id),
            )


def test_another_rows_token_is_never_presented(world: World) -> None:
    """Ciphertext that was copied from another connection does not open: nothing is sent, and it is told."""
    mine, other = world.connect_many("strict", 2)
    put(world, mine, refresh_token=world.row(other)["refresh_token"])

    result = world.refresh(mine)

    assert (result.outcome, result.code) == (Outcome.DEFERRED, "unreadable")
    assert (world.presented(mine), world.presented(other)) == (0, 0)
    assert world.alert_kinds() == ["unreadable"]


def test_a_columns_token_is_not_the_other_columns(world: World) -> None:
    """A refresh token in the access token's place does not open, so no check can carry it anywhere."""
    connected = world.connect("strict")
    put(world, connected, access_token=world.row(connected)["refresh_token"])

    assert world.check(connected).code == "unreadable"
    assert world.sim.report()["total"]["checks"] == 0


def test_an_older_token_of_the_same_place_opens(world: World) -> None:
    """A known limit: sealing binds to the place and not to the version, so an old token can be put back.

    Nobody can read it by that. It is presented once, a strict provider takes it for a reuse: the grant ends.
    """
    connected = world.connect("strict")
    old = world.row(connected)["refresh_token"]
    assert world.refresh(connected).version == 2
    put(world, connected, refresh_token=old)
    world.update("last_refreshed_at = now() - interval '1 hour'", connected)

    result = world.refresh(connected, FORCED)

    assert result.outcome is Outcome.NEEDS_REAUTH
    assert world.row(connected)["status"] == Status.NEEDS_REAUTH
    assert world.presented(connected) == 2
    assert world.alert_kinds() == ["needs_reauth"]


def test_a_rewritten_provider_is_believed(world: World) -> None:
    """A known limit: whose token it is stands in the clear; a rewritten row goes to the provider it names."""
    connected = world.connect("strict")
    put(world, connected, provider_id="gsc")

    result = world.refresh(replace(connected, provider_id="gsc"))

    assert (result.outcome, result.code) == (Outcome.NEEDS_REAUTH, "grant_rejected")
    assert world.presented(connected) == 0
