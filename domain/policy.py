"""Decisions about refreshing: pure functions from state, facts and time to values.

Something else acts on what is decided here. `now` is always Postgres' clock, jitter is uniform in [0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.backoff import backoff
from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from domain.provider import ProviderFacts, Replay
from domain.timing import replay_of, timing_of
from domain.token import RESTORED, ReauthReason, Status, TokenState

#: Room left before expiry for the last-resort attempt: one deadline, and a few seconds for the queue.
LAST_RESORT_MARGIN: Final = timedelta(seconds=10)
#: From here on a failing connection is worth a person's attention, although it is still being retried.
FAILURES_WORTH_AN_ALERT: Final = 5
#: The last error of a row into which an answer landed although its refresh token had been presented once more
#: since. The provider may take that for reuse, or may have replaced what has landed; if it refuses next, a
#: rotation was lost by it, and the user has most likely revoked nothing.
PRESENTED_TWICE: Final = "presented_twice"
#: Last errors that outlast later ones until an answer lands: they explain the refusal that may follow.
EXPLAINING: Final = (RESTORED, PRESENTED_TWICE)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The refresh token was not used up: present it again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Whether the refresh token was used up is unknown: recover, not before `recover_at`."""

    recover_at: datetime


@dataclass(frozen=True, slots=True)
class NeedsReauth:
    """Only a person can help."""

    reason: ReauthReason


@dataclass(frozen=True, slots=True)
class Withheld:
    """Refused during a wave of refusals (`domain.incidents`): nobody is declared dead; present it at `at`."""

    at: datetime


class HoldReason(StrEnum):
    """Why calls to a provider are stopped for now."""

    CLIENT_MISCONFIGURED = "client_misconfigured"
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt means.

    Attributes:
        token: What becomes of the token.
        provider: What the failure says of the provider as a whole; None: nothing.
        provider_retry_after: How long the provider asked everybody to stay away; None: it did not say.
        worth_an_alert: The connection has failed often enough, or has expired, so that somebody should know.
    """

    token: RetryAt | InDoubt | NeedsReauth | Withheld
    provider: HoldReason | None = None
    provider_retry_after: timedelta | None = None
    worth_an_alert: bool = False


def hold_reason(error: ProviderError) -> HoldReason | None:
    """Say what a failure, of whichever call, says of the provider as a whole; None: it answered properly."""
    match error:
        case ClientMisconfigured():
            return HoldReason.CLIENT_MISCONFIGURED
        case RateLimited():
            return HoldReason.RATE_LIMITED
        case NotSent() | Unavailable() | OutcomeUnknown():
            return HoldReason.UNREACHABLE
        case _:
            return None


def recovery_at(
    token: TokenState, facts: ProviderFacts, *, presented_at: datetime, now: datetime
) -> datetime:
    """Return when an unanswered presentation may be repeated.

    Never before the provider has had its settling time. Where repeating is allowed, at once after it; where
    it is not known to be allowed, as late as the access token still serves, because every minute is one in
    which the lost answer may still turn up.

    Args:
        presented_at: When it was sent, at the latest; see `sent_by` where nobody has said.
    """
    timing = timing_of(facts)
    settled = max(now, presented_at + timing.deadline + timing.settling)
    replay = replay_of(facts)
    if replay is Replay.WITHIN_WINDOW and not window_has_room(token, facts, now=settled):
        # Found too late, after an hour without beat for example: a window that has closed is none.
        replay = Replay.LAST_RESORT
    if replay is not Replay.LAST_RESORT or token.expires_at is None:
        return settled
    return max(settled, token.expires_at - timing.deadline - LAST_RESORT_MARGIN)


def sent_by(token: TokenState, facts: ProviderFacts, *, now: datetime) -> datetime:
    """Return the instant by which the row's unanswered presentation was sent, if it was sent at all.

    A worker that is never heard of again may have been slow, or stopped, between its claim and its send, and
    has sent up to a deadline before its lease's end. One that has written its doubt down has given the lease
    back, and its recovery is planned already, from the send itself.
    """
    if token.lease_until is not None:
        return token.lease_until - timing_of(facts).deadline
    return token.presented_at or now


def window_has_room(token: TokenState, facts: ProviderFacts, *, now: datetime) -> bool:
    """Say whether a presentation begun now still falls into the replay window of the unanswered one."""
    window = facts.replay_window
    if not isinstance(window, timedelta):
        return False
    if token.first_presented_at is None:
        return True
    return now + timing_of(facts).deadline <= token.first_presented_at + window


def after_failure(
    token: TokenState,
    facts: ProviderFacts,
    error: ProviderError,
    *,
    now: datetime,
    jitter: float,
    sent_at: datetime | None = None,
) -> Verdict:
    """Decide what a failed presentation means for the token and for its provider.

    Args:
        token: The row as it was claimed; its status is IN_DOUBT for a recovery attempt.
        error: How the presentation failed.
        sent_at: When it was sent; None: nothing was sent, or `sent_by` is all that is known.
    """
    failures = token.failures + 1
    wait = backoff(failures, lifetime=token.lifetime, jitter=jitter, retry_after=error.retry_after)
    retry = RetryAt(now + wait)
    alert = failures >= FAILURES_WORTH_AN_ALERT or (token.expires_at is not None and token.expires_at <= now)
    doubtful = token.status is Status.IN_DOUBT
    becomes: RetryAt | InDoubt | NeedsReauth
    match error:
        case GrantRejected():
            becomes = NeedsReauth(_why_rejected(token, facts, now=now))
        case OutcomeUnknown():
            presented_at = sent_at or sent_by(token, facts, now=now)
            recover_at = recovery_at(token, facts, presented_at=presented_at, now=now)
            # An unanswered recovery is a new doubt with one attempt of its own, later than the one before.
            becomes = InDoubt(max(recover_at, now + wait) if doubtful else recover_at)
        case _:
            becomes = _still(retry, doubtful=doubtful)
    if isinstance(error, ClientMisconfigured):
        # The provider judged us, not the grant; its own alert says so, once for all connections.
        alert = False
    return Verdict(becomes, hold_reason(error), error.retry_after, alert)


def _still(retry: RetryAt, *, doubtful: bool) -> RetryAt | InDoubt:
    """Keep a doubt a doubt: an attempt that was not processed neither confirms nor ends it."""
    return InDoubt(retry.at) if doubtful else retry


def _why_rejected(token: TokenState, facts: ProviderFacts, *, now: datetime) -> ReauthReason:
    """Tell honestly why a grant is refused: after a doubt, a lost rotation is likelier than a revocation."""
    if token.status is Status.IN_DOUBT and token.last_error_code == RESTORED:
        return ReauthReason.ROTATION_PROBABLY_LOST
    if replay_of(facts) is Replay.FREELY:
        return ReauthReason.GRANT_REJECTED
    if token.last_error_code == PRESENTED_TWICE:
        return ReauthReason.ROTATION_PROBABLY_LOST
    if token.status is not Status.IN_DOUBT:
        return ReauthReason.GRANT_REJECTED
    if replay_of(facts) is Replay.WITHIN_WINDOW and window_has_room(token, facts, now=now):
        return ReauthReason.GRANT_REJECTED
    return ReauthReason.ROTATION_PROBABLY_LOST
