"""Values for policy tests: one ordinary hourly token, told apart by what a test changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.provider import GrantKind, ProviderFacts, ReplayWindow, Rotation
from domain.token import Status, TokenState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def facts(
    rotation: Rotation = Rotation.NONE,
    window: ReplayWindow | None = None,
    *,
    grant: GrantKind = GrantKind.REFRESH_TOKEN,
    lifetime: timedelta | None = timedelta(hours=1),
    idle: timedelta | None = None,
    check: timedelta | None = None,
) -> ProviderFacts:
    return ProviderFacts("acme", grant, rotation, window, lifetime, idle, check)


STRICT = facts(Rotation.SINGLE_USE, timedelta(0))
WINDOWED = facts(Rotation.SINGLE_USE, timedelta(minutes=10))
PLAIN = facts()


def token(**changes: object) -> TokenState:
    """An hourly token, issued half an hour ago, healthy."""
    ordinary = TokenState(
        connection_id=UUID(int=1),
        provider_id="acme",
        status=Status.ACTIVE,
        version=7,
        grant_id=UUID(int=2),
        issued_at=NOW - timedelta(minutes=30),
        expires_at=NOW + timedelta(minutes=30),
        refresh_due_at=NOW + timedelta(minutes=18),
        last_refreshed_at=NOW - timedelta(minutes=30),
    )
    return replace(ordinary, **changes)  # type: ignore[arg-type]  # a test names the fields it means
