"""Decisions about health checks: what an answer to the cheapest authenticated request means for a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.backoff import backoff
from domain.errors import GrantRejected, InsufficientScope, ProviderError, RateLimited
from domain.provider import ProviderFacts
from domain.schedule import min_interval, next_check
from domain.token import ReauthReason, TokenState

#: A grant that cannot be refreshed dies by a check only after this many in a row said so.
CHECKS_TO_DIE: Final = 2
#: The second opinion on a token that a check called dead is asked for within this time.
SECOND_OPINION: Final = timedelta(minutes=5)


class CheckOutcome(StrEnum):
    """The `outcome` of `evergrant.check_token`."""

    HEALTHY = "healthy"
    NEEDS_REAUTH = "needs_reauth"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"
    DEFERRED = "deferred"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """What a health check means.

    Attributes:
        check_failures: Consecutive checks, this one included, that called the token dead.
        check_due_at: The next check; None for never.
        refresh_now: Bring the refresh forward, to find out whether the grant lives.
        reauth: The token is dead for this reason; None: it is not.
    """

    outcome: CheckOutcome
    check_failures: int
    check_due_at: datetime | None
    refresh_now: bool = False
    reauth: ReauthReason | None = None


def after_check(
    token: TokenState, facts: ProviderFacts, error: ProviderError | None, *, now: datetime, jitter: float
) -> CheckVerdict:
    """Decide what a check came to. `error` None means that the provider accepted the token.

    A refused access token of a refreshable connection causes one refresh and never a death: a second
    refusal after that refresh is a failing check, not a reason to refresh for ever.
    """
    usual = next_check(facts, now, jitter=jitter)
    match error:
        case None:
            return CheckVerdict(CheckOutcome.HEALTHY, 0, usual)
        case InsufficientScope():
            return CheckVerdict(CheckOutcome.INSUFFICIENT_SCOPE, 0, usual)
        case GrantRejected():
            return _refused(token, facts, now=now, jitter=jitter, usual=usual)
        case _:
            wait = backoff(1, lifetime=None, jitter=jitter, retry_after=error.retry_after)
            limited = isinstance(error, RateLimited)
            outcome = CheckOutcome.RATE_LIMITED if limited else CheckOutcome.UNREACHABLE
            later = now + wait if usual is None else min(usual, now + max(wait, SECOND_OPINION))
            return CheckVerdict(outcome, token.check_failures, max(later, now + wait))


def _refused(
    token: TokenState, facts: ProviderFacts, *, now: datetime, jitter: float, usual: datetime | None
) -> CheckVerdict:
    failures = token.check_failures + 1
    if token.refreshable:
        if failures > 1:
            return CheckVerdict(CheckOutcome.DEFERRED, failures, usual)
        rested = now
        if token.last_refreshed_at is not None:
            rested = token.last_refreshed_at + min_interval(token)
        if rested > now:
            # Refreshed a moment ago: ask once more before refreshing again.
            return CheckVerdict(CheckOutcome.DEFERRED, token.check_failures, rested)
        # The new token is checked soon after: the refresh proves the grant, only a check proves the token.
        return CheckVerdict(CheckOutcome.DEFERRED, failures, now + SECOND_OPINION, refresh_now=True)
    if failures >= CHECKS_TO_DIE:
        return CheckVerdict(CheckOutcome.NEEDS_REAUTH, failures, None, reauth=ReauthReason.TOKEN_REVOKED)
    interval = facts.check_interval or SECOND_OPINION
    return CheckVerdict(
        CheckOutcome.DEFERRED, failures, now + min(interval / 4, SECOND_OPINION) * (0.5 + 0.5 * jitter)
    )
