"""Connections with URLs of their own, from import to disconnect, and hosts that lead inside."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest

from domain.asks import Outcome
from domain.health import CheckOutcome
from domain.token import Status
from services.disconnecting import DisconnectOutcome
from services.wiring import Services
from tests.services.ending import (
    activity,
    dead_reason,
    disconnect,
    outbox,
    pass_outbox_time,
    slow_refresh,
)
from tests.services.world import SCHEDULED, Connected, World, line_of

pytestmark = pytest.mark.servers

#: The simulator's strict dialect, under a path that each connection names for itself.
PLACES = """
[providers.places]
display_name = "Places"
grant = "refresh_token"
token_url = "{url}/{{place}}/token"
rotation = "single_use"
replay_window = 0
[providers.places.check]
url = "{url}/{{place}}/userinfo"
[providers.places.variables.place]
pattern = "[a-z]+"
help = "where the account is kept"
example = "strict"
[providers.places.revoke]
url = "{url}/{{place}}/revoke"
auth = "client"
token = "access_token"
body = {{ token = "{{token}}" }}
"""
APP = {
    "EVERGRANT_PLACES_CLIENT_ID": "sim-strict-client",
    "EVERGRANT_PLACES_CLIENT_SECRET": "sim-strict-secret",
}


@pytest.fixture
def places(world: World) -> Services:
    return world.wire(more=PLACES.format(url=world.simulator.base_url), environment=APP)


def imported(world: World, services: Services, metadata: dict[str, Any]) -> Connected | str:
    """Import a grant with this metadata; return the connection, or why it was rejected."""
    grant = world.sim.mint("strict", owner=world.owner)[0]
    line = {**line_of(grant, f"user-{grant.grant_id}", "places"), "metadata": metadata}
    _, rejected = world.import_lines([line], services=services)
    if rejected:
        return rejected[0].reason
    found = services.tokens.find(f"user-{grant.grant_id}", "places", "")
    assert found is not None
    connected = Connected(found, "places", grant)
    world.update("refresh_due_at = now() - interval '1 second'", connected)
    return connected


def connected(world: World, services: Services) -> Connected:
    made = imported(world, services, {"place": "strict"})
    assert isinstance(made, Connected), made
    return made


@pytest.mark.parametrize("metadata", [{}, {"place": "Strict"}, {"place": "a/../b"}, {"place": ["strict"]}])
def test_an_import_without_a_part_of_its_urls_is_rejected(
    world: World, places: Services, metadata: dict[str, Any]
) -> None:
    """By the key's name, with what it is and an example; the value is not repeated."""
    reason = imported(world, places, metadata)

    assert isinstance(reason, str)
    assert "metadata.place" in reason
    assert "where the account is kept" in reason
    assert '{"place": "strict"}' in reason
    assert "a/../b" not in reason


def test_a_connection_lives_at_its_own_urls(world: World, places: Services) -> None:
    """Refreshed, checked, and revoked with the token that the provider wants for it."""
    item = connected(world, places)

    assert world.refresh(item, SCHEDULED, services=places).outcome is Outcome.REFRESHED
    assert world.check(item, services=places).outcome is CheckOutcome.HEALTHY
    result = disconnect(world, item, places)

    assert result.outcome is DisconnectOutcome.REVOKED
    assert dead_reason(world, item) == "revoked_by_client"
    (line,) = activity(world, item.id, "revoked")
    assert line["detail"]["token"] == "access_token"


def test_the_outbox_knows_the_connections_url(world: World, places: Services) -> None:
    """A revocation that has to wait finds the connection's own URL when its time comes."""
    item = connected(world, places)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=503)
    assert disconnect(world, item, places).reason == "revocation_pending"
    (row,) = outbox(world)
    assert row["token_kind"] == "access_token"
    pass_outbox_time(world, timedelta(hours=1))
    world.pass_hold()

    assert places.revocations.drain() == 1

    assert dead_reason(world, item) == "revoked_by_client"


def test_a_revocation_whose_url_nobody_knows_any_more_is_told(world: World, places: Services) -> None:
    """The connection is gone and its metadata with it: a person is told that the grant may live."""
    item = connected(world, places)
    world.sim.fault("status", endpoint="revoke", dialect="strict", status=503)
    disconnect(world, item, places)
    world.rows("DELETE FROM connections WHERE id = %s RETURNING id", item.id)
    pass_outbox_time(world, timedelta(hours=1))
    world.pass_hold()

    places.revocations.drain()

    assert outbox(world) == []
    assert "not_revoked" in world.alert_kinds()


def test_a_late_answer_is_revoked_in_the_providers_way(world: World, places: Services) -> None:
    """After a disconnect its access token is what the provider wants, whatever else the answer brought."""
    item = connected(world, places)
    worker, _ = slow_refresh(world, item, 3, places)
    world.pass_time(timedelta(seconds=41), item)
    world.sim.fault("drop_before", endpoint="revoke", dialect="strict")
    disconnect(world, item, places)
    world.rows("DELETE FROM pending_revocations RETURNING id")
    worker.join(30)

    (row,) = outbox(world)
    assert (row["why"], row["token_kind"]) == ("late_answer", "access_token")
    assert places.revocations.drain() == 1
    assert dead_reason(world, item) == "revoked_by_client"


def test_what_was_spoilt_since_the_import_is_sent_nowhere(world: World, places: Services) -> None:
    """Metadata that does not fit any more: the token is kept and put aside, and nothing is called."""
    item = connected(world, places)
    world.rows("""UPDATE connections SET metadata = '{"place": "a/b"}' WHERE id = %s RETURNING id""", item.id)

    result = world.refresh(item, SCHEDULED, services=places)

    assert (result.outcome, result.code) == (Outcome.DEFERRED, "not_presentable")
    assert world.check(item, services=places).code == "not_presentable"
    assert world.row(item)["status"] == Status.ACTIVE
    assert world.presented(item) == 0


INSIDE = """
[providers.places]
display_name = "Places"
grant = "refresh_token"
token_url = "https://places.example/token"
rotation = "single_use"
replay_window = 0
"""


@pytest.fixture
def leading_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers for places.example with this machine."""
    look_up = socket.getaddrinfo

    def inside(host: str, *rest: Any, **options: Any) -> Any:
        if host != "places.example" or options.get("flags"):
            return look_up(host, *rest, **options)
        return look_up("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", inside)


@pytest.mark.usefixtures("leading_inside")
def test_a_host_that_leads_inside_ends_no_grant_and_is_told_once(world: World) -> None:
    """The breaker opens with one alert that says what to do; the grant is as it was, and nothing was sent."""
    services = world.wire(more=INSIDE, environment=APP)
    item = connected(world, services)

    result = world.refresh(item, SCHEDULED, services=services)

    assert (result.outcome, result.code) == (Outcome.DEFERRED, "address_inside")
    row = world.row(item)
    assert row["status"] == Status.ACTIVE
    assert row["presented_at"] is None
    (alert,) = world.alerts()
    assert "leads into our own network" in alert["title"]
    assert "EVERGRANT_INTERNAL_HOSTS" in alert["help"]
    assert world.presented(item) == 0


@pytest.mark.usefixtures("leading_inside")
def test_a_host_that_the_setting_names_may_lead_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is connected to; that nobody listens there is another matter."""
    monkeypatch.setenv("EVERGRANT_INTERNAL_HOSTS", "other.example, Places.example")
    with socket.socket() as taken:
        # Taken, and not listened on.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        services = world.wire(
            more=INSIDE.replace("places.example/", f"places.example:{port}/"), environment=APP
        )
        result = world.refresh(connected(world, services), SCHEDULED, services=services)

    assert (result.outcome, result.code) == (Outcome.DEFERRED, "connect_failed")
    assert world.alerts() == []
