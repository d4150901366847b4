"""When to refresh and when to check: jittered fractions of what is known about lifetimes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.provider import GrantKind, ProviderFacts
from domain.token import TokenState

#: The share of an access token's life after which it is refreshed. The spread keeps tokens that were issued
#: together from being refreshed together; the rest of the life is the time in which failures can be retried.
ORDINARY: Final = (0.75, 0.85)
#: Tokens that live less than ten minutes keep relatively more reserve: a retry costs the same seconds.
SHORT: Final = (0.50, 0.65)
SHORT_LIFETIME: Final = timedelta(minutes=10)
#: Refresh tokens that die of idleness, or are renewed by being used, are used after this share of their life
#: at the latest …
IDLE_SHARE: Final = 0.5
#: … but not more often than this: near a grant's own end the life of each new one is what is left of that.
LEAST_USE: Final = timedelta(seconds=60)
#: Assumed for scheduling where neither answer nor definition tells a lifetime: the commonest one. The
#: expiry itself stays unknown.
ASSUMED_LIFETIME: Final = timedelta(hours=1)
#: Tokens imported without a known expiry are refreshed within this time, spread, to learn it.
LEARN_WITHIN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a new access token's row says about time. None has the meaning of TokenState's fields."""

    issued_at: datetime
    expires_at: datetime | None
    refresh_due_at: datetime | None
    check_due_at: datetime | None


def _refresh_due(
    facts: ProviderFacts,
    issued_at: datetime,
    lifetime: timedelta,
    jitter: float,
    refresh_lives: timedelta | None = None,
) -> datetime:
    low, high = SHORT if lifetime < SHORT_LIFETIME else ORDINARY
    due = issued_at + lifetime * (low + (high - low) * jitter)
    if facts.refresh_token_idle_lifetime is not None:
        due = min(due, issued_at + facts.refresh_token_idle_lifetime * IDLE_SHARE)
    if refresh_lives is not None:
        due = min(due, issued_at + max(refresh_lives * IDLE_SHARE, LEAST_USE))
    return due


def next_check(facts: ProviderFacts, now: datetime, *, jitter: float) -> datetime | None:
    """Return when to check the token's health next: the interval give or take a tenth, None for never."""
    if facts.check_interval is None:
        return None
    return now + facts.check_interval * (0.9 + 0.2 * jitter)


def after_answer(
    facts: ProviderFacts,
    *,
    began_at: datetime,
    expires_in: timedelta | None,
    jitter: float,
    refresh_lives: timedelta | None = None,
) -> Schedule:
    """Schedule a token that a provider has just issued.

    Args:
        began_at: When the request began; expiry counts from here, because the provider's clock started
            somewhere between then and the answer.
        expires_in: The answer's lifetime; None falls back to the definition's.
        jitter: Uniform in [0, 1).
        refresh_lives: How long the answer's new refresh token lives; None: unknown, for ever, or the answer
            brought none, so that using it sooner renews nothing.
    """
    check_due_at = next_check(facts, began_at, jitter=jitter)
    if facts.grant is GrantKind.NONE:
        return Schedule(began_at, None, None, check_due_at)
    lifetime = expires_in if expires_in is not None else facts.access_token_lifetime
    expires_at = None if lifetime is None else began_at + lifetime
    due = _refresh_due(facts, began_at, lifetime or ASSUMED_LIFETIME, jitter, refresh_lives)
    return Schedule(began_at, expires_at, due, check_due_at)


def after_import(
    facts: ProviderFacts,
    *,
    now: datetime,
    expires_at: datetime | None,
    refreshable: bool,
    jitter: float,
    refresh_expires_at: datetime | None = None,
) -> Schedule:
    """Schedule a token whose history is unknown: its age is inferred from the definition's lifetime.

    A token that cannot be refreshed gets no refresh, only health checks.

    Args:
        refresh_expires_at: When the refresh token dies unless it is renewed by being used; None: unknown,
            never, or using it does not renew it.
    """
    # The first check comes soon: an imported row proves nothing until the provider has confirmed it.
    first_check = (
        None if facts.check_interval is None else now + min(facts.check_interval, LEARN_WITHIN) * jitter
    )
    if facts.grant is GrantKind.NONE or not refreshable:
        return Schedule(now, expires_at, None, first_check)
    if expires_at is None:
        return Schedule(now, None, now + LEARN_WITHIN * jitter, first_check)
    lifetime = facts.access_token_lifetime or ASSUMED_LIFETIME
    issued_at = min(now, expires_at - lifetime)
    due = _refresh_due(facts, issued_at, expires_at - issued_at, jitter)
    if refresh_expires_at is not None:
        due = min(due, now + max((refresh_expires_at - now) * IDLE_SHARE, timedelta(0)))
    return Schedule(issued_at, expires_at, max(now, due), first_check)


def min_interval(token: TokenState) -> timedelta:
    """Return the least time between two refreshes: 60 s, at most half the access token's life."""
    lifetime = token.lifetime
    minute = timedelta(seconds=60)
    return minute if lifetime is None else min(minute, lifetime / 2)
