"""The forecast: told before a grant dies, once, in words, and taken back when it will not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from domain.asks import Outcome
from services.forecast import MOST_ALONE
from services.wiring import Services
from tests.services.test_scheduling import tick
from tests.services.world import HOUR, Connected, World, line_of

pytestmark = pytest.mark.servers

DAY: Final = timedelta(days=1)
#: Providers with lives of their own, at the simulator.
LIVES: Final = """
[providers.capped]
display_name = "Capped"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
grant_lifetime = 31536000

[providers.fixed]
display_name = "Fixed"
grant = "refresh_token"
token_url = "{url}/google/token"
rotation = "none"
refresh_token_lifetime = 5184000

[providers.lazy]
display_name = "Lazy"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
refresh_token_idle_lifetime = 5184000

[providers.few]
display_name = "Few"
grant = "refresh_token"
token_url = "{url}/google/token"
rotation = "none"
grant_limit = {{ max = 5, beyond = "oldest_dies" }}
"""
#: provider id -> the simulator's dialect that plays it.
PLAYED: Final = {"capped": "strict", "fixed": "google", "lazy": "strict", "few": "google"}


@pytest.fixture
def services(world: World) -> Services:
    environment = {}
    for provider_id, dialect in PLAYED.items():
        prefix = f"EVERGRANT_{provider_id.upper()}"
        environment[f"{prefix}_CLIENT_ID"] = f"sim-{dialect}-client"
        environment[f"{prefix}_CLIENT_SECRET"] = f"sim-{dialect}-secret"
    world.services = world.wire(more=LIVES.format(url=world.simulator.base_url), environment=environment)
    return world.services


def connect(world: World, provider_id: str, count: int = 1) -> list[Connected]:
    at = {"strict": "strict", "google": "gsc"}[PLAYED[provider_id]]
    return world.connect_many(at, count, as_provider=provider_id)


def connected_ago(world: World, days: float, *connected: Connected) -> None:
    world.rows(
        "UPDATE connections SET connected_at = now() - make_interval(secs => %s)"
        " WHERE id = ANY(%s) RETURNING 1",
        days * 86400,
        [item.id for item in connected],
    )


def only(world: World) -> dict[str, Any]:
    (alert,) = world.alerts()
    return alert


def test_a_grant_near_its_whole_life_is_told_once_and_ends_with_a_reconnect(
    world: World, services: Services
) -> None:
    """A week ahead, whatever refreshes land meanwhile; new credentials resolve it at once."""
    (one,) = connect(world, "capped")
    connected_ago(world, 357, one)
    assert services.forecast.look() == 0
    connected_ago(world, 359, one)

    for _ in range(3):
        world.update("refresh_due_at = now(), alerted = true", one)
        assert world.refresh(one).outcome is Outcome.REFRESHED
        assert services.forecast.look() == 1

    alert = only(world)
    assert (alert["kind"], alert["severity"], alert["connection_id"]) == ("will_die", "warning", one.id)
    assert alert["title"].startswith("The Capped grant of user user-1 will die on ")
    for words in ("ends 365 days after the consent", "Ask the user to connect Capped again"):
        assert words in alert["help"]
    assert alert["detail"]["of"] == "grant_lifetime"
    assert alert["detail"]["overdue"] is False
    (grant,) = world.sim.mint("strict", 1, owner=world.owner)
    report, _ = world.import_lines([line_of(grant, "user-1", "capped")], replace=True)
    assert report.outcomes == {"replaced": 1}
    assert world.alerts() == []
    assert services.forecast.look() == 0
    assert [what for what, _ in world.events()] == ["opened", "resolved"]


def test_what_the_provider_says_of_a_grant_is_believed(world: World) -> None:
    """Google's word on an app in testing: seven days, told a day ahead, with what helps; its end is not moved
    by refreshes, and nobody is told before the last day."""
    world.sim.configure("google", grant_life=7 * 86400)
    one = world.connect("gsc")
    for _ in range(2):
        world.update("refresh_due_at = now(), issued_at = issued_at - interval '1 hour'", one)
        assert world.refresh(one).outcome is Outcome.REFRESHED
    row = world.row(one)
    assert row["dies_at"] == row["refresh_expires_at"]
    assert world.services.forecast.look() == 0
    world.update("dies_at = dies_at - interval '6 days 1 hour', refresh_expires_at = NULL", one)
    world.update("refresh_expires_at = dies_at", one)
    connected_ago(world, 6.1, one)

    assert world.services.forecast.look() == 1

    alert = only(world)
    assert alert["detail"]["of"] == "app_in_testing"
    assert "Publish the app" in alert["help"]
    assert world.row(one)["status"] == "active"


def test_a_grant_that_has_outlived_its_end_is_tried_and_not_killed(world: World, services: Services) -> None:
    """The alert says overdue; the next refresh that succeeds proves the forecast wrong and ends it."""
    (one,) = connect(world, "fixed")
    connected_ago(world, 61, one)
    world.update("refresh_expires_at = NULL, dies_at = NULL, issued_at = now() - interval '2 days'", one)
    services.forecast.look()
    alert = only(world)
    assert "should have ended on" in alert["title"]
    assert "what the provider answers counts" in alert["help"]
    assert (alert["detail"]["of"], alert["detail"]["overdue"]) == ("refresh_token_lifetime", True)
    assert world.row(one)["status"] == "active"

    assert world.refresh(one).outcome is Outcome.REFRESHED
    services.forecast.look()

    assert world.alerts() == []


def test_a_provider_that_does_end_it_is_believed(world: World, services: Services) -> None:
    """Its refusal is what declares the grant dead, and that alert takes the forecast's place."""
    (one,) = connect(world, "capped")
    connected_ago(world, 364, one)
    services.forecast.look()
    assert world.alert_kinds() == ["will_die"]
    world.sim.revoke([one.grant.grant_id])

    assert world.refresh(one).outcome is Outcome.NEEDS_REAUTH

    assert world.alert_kinds() == ["needs_reauth"]
    services.forecast.look()
    assert world.alert_kinds() == ["needs_reauth"]


def test_an_idle_grant_is_exercised_at_half_its_idle_life(world: World, services: Services) -> None:
    """Long before its access token expires the scheduler takes it up, and nobody is told anything."""
    (one,) = connect(world, "lazy")
    world.sim.configure("strict", lifetime=86400 * 365)
    world.refresh(one)
    row = world.row(one)
    assert row["refresh_due_at"] - row["issued_at"] == 30 * DAY
    world.pass_time(30 * DAY - HOUR, one)
    assert tick(world).ids == []

    world.pass_time(HOUR * 1.5, one)

    assert services.forecast.look() == 0
    assert tick(world).ids == [one.id]
    assert world.refresh(one).outcome is Outcome.REFRESHED
    assert world.row(one)["refresh_due_at"] - world.row(one)["now"] > 29 * DAY


def test_an_idle_grant_that_cannot_be_exercised_is_told(world: World, services: Services) -> None:
    """It fails for weeks; the words say that mending that is enough, and its first success ends the alert."""
    (one,) = connect(world, "lazy")
    world.update("issued_at = now() - interval '54 days', failures = 40, last_error_code = 'timeout'", one)
    services.forecast.look()
    alert = only(world)
    assert alert["detail"]["of"] == "idle"
    assert "(last error: timeout)" in alert["help"]
    assert "with the first refresh that succeeds" in alert["help"]

    world.refresh(one)
    services.forecast.look()

    assert world.alerts() == []


def test_a_token_that_nothing_refreshes_is_told(world: World) -> None:
    """An import without a refresh token: its access token's end is the grant's."""
    (grant,) = world.sim.mint("google", 1, owner=world.owner, lifetime=5 * 86400)
    line = {**line_of(grant, "someone", "gsc"), "refresh_token": None}
    report, rejected = world.import_lines([line])
    assert report.outcomes == {"created": 1}, rejected
    world.rows("UPDATE tokens SET issued_at = now() - interval '55 days' RETURNING 1")

    world.services.forecast.look()

    alert = only(world)
    assert alert["detail"]["of"] == "not_refreshable"
    assert "gave no refresh token" in alert["help"]


def test_many_that_die_of_one_cause_are_one_incident(world: World, services: Services) -> None:
    """Whoever was told of alone stays so; the others are one alert with their number, until none is left."""
    several = connect(world, "capped", MOST_ALONE + 3)
    connected_ago(world, 360, *several[:MOST_ALONE])
    services.forecast.look()
    assert len(world.alerts()) == MOST_ALONE

    connected_ago(world, 360, *several)
    services.forecast.look()

    (group,) = (alert for alert in world.alerts() if alert["connection_id"] is None)
    assert group["title"].startswith(f"{MOST_ALONE + 3} Capped grants will die from ")
    assert group["detail"]["connections"] == MOST_ALONE + 3
    assert len(world.alerts()) == MOST_ALONE + 1
    assert [what for what, _ in world.events()] == ["opened"] * (MOST_ALONE + 1)
    connected_ago(world, 1, *several[1:])
    services.forecast.look()
    # The one that is left was told of alone, and the incident with it.
    assert {alert["connection_id"] for alert in world.alerts()} == {several[0].id, None}
    connected_ago(world, 1, several[0])
    services.forecast.look()
    assert world.alerts() == []


def test_a_number_that_is_no_more_than_what_was_looked_at_is_not_called_exact(
    world: World, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of those that were looked at have outlived their end; behind them are more that die."""
    monkeypatch.setattr("storage.lives.MOST", 9)
    monkeypatch.setattr("services.forecast.MOST", 9)
    several = connect(world, "capped", 12)
    connected_ago(world, 360, *several)
    connected_ago(world, 366, *several[:2])

    services.forecast.look()

    alert = only(world)
    assert alert["title"].startswith("More than 7 Capped grants will die from ")
    assert alert["detail"]["connections_is_exact"] is False


def test_whoever_dies_too_late_to_be_told_does_not_make_a_number_inexact(
    world: World, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look reached them, so that it has reached all who die before them."""
    monkeypatch.setattr("storage.lives.MOST", 9)
    monkeypatch.setattr("services.forecast.MOST", 9)
    several = connect(world, "fixed", 12)
    world.update("dies_at = now() + interval '6 days', refresh_expires_at = NULL", *several)
    connected_ago(world, 57, *several[:7])
    connected_ago(world, 48, *several[7:])

    services.forecast.look()

    alert = only(world)
    assert alert["title"].startswith("7 Fixed grants will die from ")
    assert alert["detail"]["connections_is_exact"] is True


def test_an_account_near_its_limit_is_told(world: World, services: Services) -> None:
    """The words name whose grant dies next; it ends when one is disconnected."""
    grants = world.sim.mint("google", 4, owner=world.owner)
    lines = [line_of(grant, f"user-{n}", "few", "acct@example") for n, grant in enumerate(grants)]
    world.import_lines(lines[:3])
    services.forecast.look()
    assert world.alerts() == []

    world.import_lines(lines[3:])
    services.forecast.look()
    services.forecast.look()

    alert = only(world)
    assert (alert["kind"], alert["provider_id"], alert["count"]) == ("grants_near_limit", "few", 2)
    assert alert["title"] == "Few account acct@example has 4 of the 5 grants that it may have"
    assert "that of user user-0" in alert["help"]
    assert "acct@example" not in alert["cause"]
    connection_id = services.tokens.find("user-0", "few", "acct@example")
    assert connection_id is not None
    services.disconnection.disconnect(connection_id)
    services.forecast.look()
    assert world.alerts() == []
