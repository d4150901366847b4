"""What the tests of disconnecting share: connections with accounts, the outbox, and what nothing may hold."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from domain.token import Status
from services.disconnecting import DisconnectResult
from services.refresh.result import RefreshResult
from services.wiring import Services
from tests.services.world import Connected, World, line_of
from tests.support.waiting import eventually

TABLES = (
    "connections",
    "tokens",
    "spare_tokens",
    "pending_revocations",
    "activity",
    "alerts",
    "alert_events",
)


def connect_as(
    world: World, provider_id: str, user_id: str, account_id: str = "", *, google_user: str | None = None
) -> Connected:
    """Import a connection under these names; `google_user` is who he is at the provider."""
    dialect = "google" if provider_id.startswith("gsc") else provider_id
    order: dict[str, Any] = {} if google_user is None else {"user": google_user}
    grant = world.sim.mint(dialect, owner=world.owner, **order)[0]
    return reconnect(world, grant, provider_id, user_id, account_id)


def reconnect(
    world: World,
    grant: Any,
    provider_id: str,
    user_id: str,
    account_id: str = "",
    *,
    services: Services | None = None,
) -> Connected:
    """Import a grant under these names, whatever was there before."""
    report, rejected = world.import_lines(
        [line_of(grant, user_id, provider_id, account_id)], replace=True, services=services
    )
    assert rejected == [], report
    found = (services or world.services).tokens.find(user_id, provider_id, account_id)
    assert found is not None
    return Connected(found, provider_id, grant)


def user_of(world: World, connected: Connected) -> str:
    return str(world.rows("SELECT user_id FROM connections WHERE id = %s", connected.id)[0]["user_id"])


def disconnect(world: World, connected: Connected, services: Services | None = None) -> DisconnectResult:
    return (services or world.services).disconnection.disconnect(connected.id)


def dead_reason(world: World, connected: Connected) -> str | None:
    reason: str | None = world.grant(connected)["dead_reason"]
    return reason


def outbox(world: World) -> list[dict[str, Any]]:
    return world.rows("SELECT * FROM pending_revocations ORDER BY created_at, id")


def activity(world: World, connection_id: UUID, kind: str) -> list[dict[str, Any]]:
    return world.rows(
        "SELECT code, detail FROM activity WHERE connection_id = %s AND kind = %s ORDER BY id",
        connection_id,
        kind,
    )


def pass_outbox_time(world: World, duration: timedelta) -> None:
    """Let time pass for everything in the outbox."""
    with psycopg.connect(world.database_url) as connection:
        connection.execute(
            "UPDATE pending_revocations SET created_at = created_at - %s, next_at = next_at - %s",
            (duration, duration),
        )


def assert_erased(world: World, connected: Connected) -> None:
    """Nothing that could be presented or served is left of it."""
    row = world.row(connected)
    assert row["status"] == Status.DISCONNECTED
    for column in (
        "access_token",
        "refresh_token",
        "refresh_digest",
        "lease_until",
        "attempt_id",
        "expires_at",
    ):
        assert row[column] is None, column
    assert world.rows("SELECT * FROM spare_tokens WHERE connection_id = %s", connected.id) == []


def slow_refresh(
    world: World, connected: Connected, seconds: float, services: Services | None = None
) -> tuple[threading.Thread, list[RefreshResult]]:
    """Begin a refresh that the provider acts on at once and answers late; returns when it has acted."""
    results: list[RefreshResult] = []
    world.sim.fault("hang_after", dialect=connected.grant.dialect, seconds=seconds)
    worker = threading.Thread(target=lambda: results.append(world.refresh(connected, services=services)))
    worker.start()
    eventually(lambda: world.grant(connected)["serial"] > 0, what="the provider has acted")
    return worker, results
