"""Rows of the modelled store, and whom they may be claimed by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.token import Credentials, TokenState
from storage.tokens.claim_statements import ClaimKind
from storage.tokens.claims import ClaimCondition
from storage.tokens.landing import Landing

MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `tokens`; `spent` are refresh tokens, the newest first."""

    state: TokenState
    access: str | None
    refresh: str | None
    spent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spare:
    """A row of `spare_tokens`."""

    attempt_id: UUID
    grant_id: UUID
    version: int
    credentials: Credentials
    issued_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """A claim: the row as stamped, and the clock at that moment."""

    state: TokenState
    now: datetime
    refresh: str | None


def spare_of(landing: Landing) -> Spare:
    """What is kept of an answer that came when the version had moved on."""
    schedule = landing.schedule
    return Spare(
        landing.attempt_id,
        landing.grant_id,
        landing.presented_version,
        landing.credentials,
        schedule.issued_at,
        schedule.expires_at,
    )


def in_the_clear(credentials: Credentials) -> tuple[str, str | None]:
    refresh = credentials.refresh_token
    return (
        credentials.access_token.get_secret_value(),
        None if refresh is None else refresh.get_secret_value(),
    )


def half_life(state: TokenState) -> timedelta | None:
    return None if state.lifetime is None else state.lifetime / 2


def least(*values: timedelta | None) -> timedelta:
    """SQL's LEAST: it ignores NULL."""
    return min(value for value in values if value is not None)


def is_free(state: TokenState, now: datetime) -> bool:
    leased = state.lease_until is not None and state.lease_until >= now
    return not leased and (state.not_before is None or state.not_before <= now)


def is_due(state: TokenState, now: datetime) -> bool:
    return state.refresh_due_at is not None and state.refresh_due_at <= now


def is_asked_for(state: TokenState, when: ClaimCondition, now: datetime) -> bool:
    """The clause that differs between the kinds of claim."""
    if when.kind is ClaimKind.SCHEDULED:
        return is_due(state, now)
    last = state.last_refreshed_at
    if last is not None and last + least(MINUTE, half_life(state)) > now:
        return False
    if when.kind is ClaimKind.IF_VERSION:
        return state.version == when.version
    if when.kind is ClaimKind.FORCE:
        return True
    validity = least(when.min_validity or timedelta(), half_life(state))
    return is_due(state, now) or (state.expires_at is not None and state.expires_at - validity <= now)
