"""What a caller may ask of a token, and why it was not claimed for him."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.schedule import min_interval
from domain.token import Status, TokenState

DEFAULT_MIN_VALIDITY: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class RefreshAsk:
    """Who wants a refresh, and how much of it is a demand.

    Attributes:
        scheduled: The scheduler asks: refresh if the row is due. Otherwise a caller asks.
        min_validity: A caller's token must live at least this long, capped at half its lifetime.
        if_version: Refresh only if this is still the version (what to send after a 401); None: any.
        force: Skip the question of freshness, and nothing else.
    """

    scheduled: bool = False
    min_validity: timedelta = DEFAULT_MIN_VALIDITY
    if_version: int | None = None
    force: bool = False


class Outcome(StrEnum):
    """The `outcome` of `evergrant.refresh_token`."""

    REFRESHED = "refreshed"
    FRESH = "fresh"
    DEFERRED = "deferred"
    NEEDS_REAUTH = "needs_reauth"
    NOT_FOUND = "not_found"
    NOT_REFRESHABLE = "not_refreshable"


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is to be done; this is the answer.

    Attributes:
        retry_at: When it is worth asking again; None where that would change nothing.
        code: Why, in a word for `error.code`; None where there is nothing to explain.
    """

    outcome: Outcome
    retry_at: datetime | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class HeldByAnother:
    """Another worker is presenting; its answer is due before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A lease ran out with its presentation unresolved: whoever sees it first puts the row in doubt."""


@dataclass(frozen=True, slots=True)
class Recover:
    """The row is in doubt and its time for recovery has come."""


@dataclass(frozen=True, slots=True)
class ClaimAgain:
    """The row has changed since the claim failed and now looks claimable."""


Standing = Settled | HeldByAnother | Lapsed | Recover | ClaimAgain


def standing(token: TokenState, ask: RefreshAsk, *, now: datetime) -> Standing:
    """Explain a row that could not be claimed, in the order in which the reasons matter."""
    if token.status is Status.DISCONNECTED:
        return Settled(Outcome.NOT_FOUND, code="disconnected")
    if token.status is Status.NEEDS_REAUTH:
        return Settled(Outcome.NEEDS_REAUTH, code=token.reauth_reason)
    if token.lease_until is not None and token.lease_until > now:
        return HeldByAnother(token.lease_until)
    if token.status is Status.IN_DOUBT:
        if token.lease_until is not None:
            # The worker that was to recover it has vanished as well: a doubt of its own.
            return Lapsed()
        due = max(filter(None, (token.refresh_due_at, token.not_before)), default=now)
        return Recover() if due <= now else Settled(Outcome.DEFERRED, due, "in_doubt")
    if token.presented_at is not None:
        return Lapsed()
    if not token.refreshable:
        return Settled(Outcome.NOT_REFRESHABLE)
    if not wanted(token, ask, now=now):
        return Settled(Outcome.FRESH)
    if token.not_before is not None and token.not_before > now:
        return Settled(Outcome.DEFERRED, token.not_before, token.last_error_code or "backoff")
    if not ask.scheduled and token.last_refreshed_at is not None:
        earliest = token.last_refreshed_at + min_interval(token)
        if earliest > now:
            return Settled(Outcome.DEFERRED, earliest, "minimum_interval")
    return ClaimAgain()


def wanted(token: TokenState, ask: RefreshAsk, *, now: datetime) -> bool:
    """Say whether the ask calls for a refresh at all: the same words as the claim's statement."""
    if ask.if_version is not None and token.version != ask.if_version:
        return False
    if ask.force or ask.if_version is not None:
        return True
    if token.refresh_due_at is not None and token.refresh_due_at <= now:
        return True
    if ask.scheduled or token.expires_at is None:
        return False
    lifetime = token.lifetime
    validity = ask.min_validity if lifetime is None else min(ask.min_validity, lifetime / 2)
    return token.expires_at - validity <= now
