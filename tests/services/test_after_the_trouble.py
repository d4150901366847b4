"""Trouble ends where its cause ends: alerts, breakers and checks that nothing would ever come back to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.asks import Outcome
from tests.services.keyed import wire_without_key
from tests.services.world import SCHEDULED, World, line_of

pytestmark = pytest.mark.servers


def test_the_alert_of_a_mended_client_id_ends(world: World) -> None:
    """A breaker belongs to a client id; mending the id leaves it behind, and housekeeping closes it."""
    connected = world.connect("gsc")
    typo = world.wire(environment={"EVERGRANT_GSC_CLIENT_ID": "typo"})
    world.refresh(connected, services=typo)
    assert world.alert_kinds() == ["provider_client_misconfigured"]

    world.update("refresh_due_at = now(), not_before = NULL", connected)
    good = world.wire()
    assert world.refresh(connected, services=good).outcome is Outcome.REFRESHED
    good.housekeeping.run()

    assert world.alerts() == []
    assert world.holds() == []


def test_the_alert_of_a_provider_without_work_ends(world: World) -> None:
    """Where nothing is scheduled at a provider any more, no call will ever close its breaker."""
    connected = world.connect("gsc")
    world.sim.fault("invalid_client", dialect="google")
    world.refresh(connected)
    assert world.alert_kinds() == ["provider_client_misconfigured"]

    world.update("status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL", connected)
    world.services.housekeeping.run()

    assert world.alerts() == []


def test_the_breaker_of_a_living_provider_is_left_alone(world: World) -> None:
    """Housekeeping closes what is abandoned, and nothing else."""
    connected = world.connect("gsc")
    world.sim.fault("invalid_client", dialect="google")
    world.refresh(connected)

    world.services.housekeeping.run()

    assert len(world.holds()) == 1
    assert world.alert_kinds() == ["provider_client_misconfigured"]


def test_a_long_silence_is_told(world: World) -> None:
    """A provider that wants a day of silence will let tokens expire; a minute of it is weather."""
    first, second = world.connect("gsc"), world.connect("strict")
    world.sim.fault("status", dialect="google", status=429, retry_after=86400)
    world.sim.fault("status", dialect="strict", status=429, retry_after=30)

    world.refresh(first)
    world.refresh(second)

    (alert,) = world.alerts()
    assert alert["kind"] == "provider_rate_limited"
    assert alert["provider_id"] == "gsc"


def test_a_check_that_was_taken_out_of_the_definition_ends(world: World) -> None:
    """A token whose provider has no health check any more is not scheduled for one for ever."""
    url = world.simulator.base_url
    table = '\n[providers.acme]\ndisplay_name = "Acme"\ngrant = "refresh_token"\n'
    table += f'token_url = "{url}/strict/token"\nrotation = "single_use"\nreplay_window = 0\n'
    check = f'[providers.acme.check]\nurl = "{url}/strict/userinfo"\n'
    ours = {"EVERGRANT_ACME_CLIENT_ID": "x", "EVERGRANT_ACME_CLIENT_SECRET": "y"}
    before = world.wire(more=table + check, environment=ours)
    grant = world.sim.mint("strict", 1, owner=world.owner)[0]
    world.import_lines([line_of(grant, "somebody", "acme")], services=before)
    connection_id = before.tokens.find("somebody", "acme", "")
    assert connection_id is not None

    after = world.wire(more=table, environment=ours)
    result = after.checks.check(connection_id, scheduled=True)

    assert result.code == "no_health_check_defined"
    (row,) = world.rows("SELECT check_due_at FROM tokens WHERE connection_id = %s", connection_id)
    assert row["check_due_at"] is None


def test_a_check_that_can_open_the_token_again_ends_its_alert(world: World) -> None:
    """The key is back: the next healthy check says so, without waiting for a refresh weeks away."""
    connected = world.connect("strict")
    world.update("check_due_at = now(), refresh_due_at = now() + interval '50 minutes'", connected)
    world.check(connected, services=wire_without_key(world, "k9"))
    assert world.alert_kinds() == ["unreadable"]

    world.check(connected)

    assert world.alerts() == []


def test_a_denied_token_is_taken_up_by_the_next_tick(world: World) -> None:
    """A bulk message that a gate turned away gives its mark back, so that its order is decided anew."""
    first, second = world.connect_many("gsc", 2)
    world.sim.fault("status", dialect="google", status=429, retry_after=600)
    world.refresh(first)
    world.update("refresh_due_at = now(), refresh_enqueued_until = now() + interval '30 seconds'", second)

    result = world.refresh(second, SCHEDULED)

    assert result.code == "rate_limited"
    assert world.row(second)["refresh_enqueued_until"] is None


def test_a_recovery_is_not_claimed_before_its_time(world: World) -> None:
    """A doubt is claimed by its rule alone, and its rule has a time, whoever asks the store."""
    connected = world.connect("strict")
    world.sim.fault("drop_after", dialect="strict")
    world.refresh(connected)
    assert world.row(connected)["status"] == "in_doubt"

    claimed = world.services.tokens.claim_recovery(
        connected.id,
        seen=world.row(connected)["attempt_id"],
        attempt_id=world.row(connected)["grant_id"],
        owner="test",
        lease=timedelta(seconds=40),
    )

    assert claimed is None
