"""What a failed presentation means, for each kind of provider."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    Malformed,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.policy import (
    PRESENTED_TWICE,
    HoldReason,
    InDoubt,
    NeedsReauth,
    RetryAt,
    after_failure,
    recovery_at,
    sent_by,
)
from domain.provider import ProviderFacts
from domain.timing import timing_of
from domain.token import ReauthReason, Status
from tests.domain.build import NOW, PLAIN, STRICT, WINDOWED, seconds, token

EVERY_ERROR = [
    NotSent("connect_failed"),
    RateLimited("rate_limited", retry_after=seconds(30)),
    Unavailable("unavailable", http_status=503),
    OutcomeUnknown("timeout"),
    Malformed("not_json", http_status=200),
    Refused("odd", http_status=418),
    ClientMisconfigured("invalid_client", http_status=401),
]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("facts", [PLAIN, WINDOWED, STRICT], ids=["plain", "windowed", "strict"])
@pytest.mark.parametrize("failures", [0, 3, 1000])
def test_nothing_but_a_rejected_grant_needs_a_person(
    error: ProviderError, facts: ProviderFacts, failures: int
) -> None:
    """However often it fails, only the provider's word that the grant is dead is believed."""
    verdict = after_failure(token(failures=failures), facts, error, now=NOW, jitter=0.5)

    assert not isinstance(verdict.token, NeedsReauth)


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        (NotSent("connect_failed"), False),
        (Unavailable("unavailable"), False),
        (RateLimited("rate_limited"), False),
        (Refused("odd"), False),
        (ClientMisconfigured("invalid_client"), False),
        (OutcomeUnknown("timeout"), True),
        (Malformed("not_json"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_doubt_is_what_was_sent_and_not_answered(error: ProviderError, doubtful: bool) -> None:
    """Not sent is a plain retry; sent and unanswered, or answered unintelligibly, is in doubt."""
    verdict = after_failure(token(presented_at=NOW), STRICT, error, now=NOW, jitter=0.5)

    assert doubtful == isinstance(verdict.token, InDoubt)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_an_unprocessed_recovery_stays_in_doubt(error: ProviderError) -> None:
    """A recovery that was not processed neither confirms nor ends the doubt."""
    doubted = token(status=Status.IN_DOUBT, presented_at=NOW, first_presented_at=NOW - seconds(60))

    verdict = after_failure(doubted, STRICT, error, now=NOW, jitter=0.5)

    assert isinstance(verdict.token, InDoubt)


def test_a_plain_provider_is_recovered_after_its_settling_time() -> None:
    """Where nothing rotates, the same token is presented again as soon as the provider has settled."""
    timing = timing_of(PLAIN)

    at = recovery_at(token(), PLAIN, presented_at=NOW, now=NOW)

    assert at == NOW + timing.deadline + timing.settling


@pytest.mark.parametrize("facts", [PLAIN, WINDOWED, STRICT], ids=["plain", "windowed", "strict"])
def test_a_silent_workers_send_is_taken_to_be_as_late_as_its_lease_allowed(facts: ProviderFacts) -> None:
    """Slow between claim and send and killed after it: the provider has its settling time from there."""
    timing = timing_of(facts)
    silent = token(presented_at=NOW, lease_until=NOW + timing.lease, expires_at=NOW)
    last_send = NOW + timing.lease - timing.deadline

    presented_at = sent_by(silent, facts, now=NOW + timing.lease)
    at = recovery_at(silent, facts, presented_at=presented_at, now=NOW + timing.lease)

    assert at == last_send + timing.deadline + timing.settling


def test_a_doubt_that_was_written_down_counts_from_its_own_send() -> None:
    """The worker that gave up knows when it sent; its claim may have been much earlier."""
    timing = timing_of(PLAIN)
    claimed = token(presented_at=NOW, lease_until=NOW + timing.lease)
    sent_at = NOW + seconds(20)
    gave_up_at = sent_at + timing.deadline

    verdict = after_failure(
        claimed, PLAIN, OutcomeUnknown("timed_out"), now=gave_up_at, jitter=0.5, sent_at=sent_at
    )

    assert verdict.token == InDoubt(gave_up_at + timing.settling)
    given_back = token(presented_at=NOW, lease_until=None)
    assert sent_by(given_back, PLAIN, now=gave_up_at) == NOW


def test_a_window_is_used_inside_it() -> None:
    """The repeated presentation begins and ends within the provider's replay window."""
    at = recovery_at(token(), WINDOWED, presented_at=NOW, now=NOW)

    assert at + timing_of(WINDOWED).deadline <= NOW + timedelta(minutes=10)


def test_a_strict_provider_is_asked_as_late_as_the_access_token_serves() -> None:
    """The one attempt comes just before expiry, with room for a deadline."""
    at = recovery_at(token(), STRICT, presented_at=NOW, now=NOW)

    assert NOW + timedelta(minutes=29) < at < NOW + timedelta(minutes=30) - timing_of(STRICT).deadline


def test_an_expired_strict_token_is_asked_after_settling() -> None:
    """There is nothing to wait for once the access token is dead, except the provider."""
    timing = timing_of(STRICT)

    at = recovery_at(token(expires_at=NOW - seconds(1)), STRICT, presented_at=NOW, now=NOW)

    assert at == NOW + timing.deadline + timing.settling


@pytest.mark.parametrize(
    ("facts", "status", "first_presented", "reason"),
    [
        (PLAIN, Status.ACTIVE, None, ReauthReason.GRANT_REJECTED),
        (PLAIN, Status.IN_DOUBT, 60, ReauthReason.GRANT_REJECTED),
        (STRICT, Status.ACTIVE, None, ReauthReason.GRANT_REJECTED),
        (STRICT, Status.IN_DOUBT, 60, ReauthReason.ROTATION_PROBABLY_LOST),
        (WINDOWED, Status.IN_DOUBT, 60, ReauthReason.GRANT_REJECTED),
        (WINDOWED, Status.IN_DOUBT, 3600, ReauthReason.ROTATION_PROBABLY_LOST),
    ],
)
def test_a_refusal_after_a_doubt_is_told_honestly(
    facts: ProviderFacts, status: Status, first_presented: float | None, reason: ReauthReason
) -> None:
    """Where a rotation was probably lost, nobody is told that the user revoked access."""
    since = None if first_presented is None else NOW - seconds(first_presented)
    refused = token(status=status, first_presented_at=since, presented_at=NOW)

    verdict = after_failure(refused, facts, GrantRejected("invalid_grant"), now=NOW, jitter=0.5)

    assert verdict.token == NeedsReauth(reason)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (PLAIN, ReauthReason.GRANT_REJECTED),
        (WINDOWED, ReauthReason.ROTATION_PROBABLY_LOST),
        (STRICT, ReauthReason.ROTATION_PROBABLY_LOST),
    ],
    ids=["plain", "windowed", "strict"],
)
def test_a_refusal_after_a_double_presentation_is_told_honestly(
    facts: ProviderFacts, reason: ReauthReason
) -> None:
    """The late answer landed, and what was presented meanwhile has cost the grant: nobody revoked it."""
    refused = token(presented_at=NOW, first_presented_at=NOW, last_error_code=PRESENTED_TWICE)

    verdict = after_failure(refused, facts, GrantRejected("invalid_grant"), now=NOW, jitter=0.5)

    assert verdict.token == NeedsReauth(reason)


def test_a_client_refused_says_nothing_of_the_token() -> None:
    """A wrong secret stops the calls of the provider, and the token is tried again."""
    verdict = after_failure(token(), STRICT, ClientMisconfigured("invalid_client"), now=NOW, jitter=0.5)

    assert verdict.provider is HoldReason.CLIENT_MISCONFIGURED
    assert isinstance(verdict.token, RetryAt)


def test_retry_after_is_obeyed() -> None:
    """The provider's wish outweighs our own, shorter backoff."""
    error = RateLimited("rate_limited", retry_after=timedelta(minutes=20))

    verdict = after_failure(token(), PLAIN, error, now=NOW, jitter=0.0)

    assert isinstance(verdict.token, RetryAt)
    assert verdict.token.at >= NOW + timedelta(minutes=20)
    assert verdict.provider_retry_after == timedelta(minutes=20)


@pytest.mark.parametrize(("failures", "alert"), [(0, False), (3, False), (4, True)])
def test_a_person_hears_of_the_fifth_failure(failures: int, alert: bool) -> None:
    """A few failures are weather; five in a row deserve a look."""
    verdict = after_failure(token(failures=failures), PLAIN, Refused("odd"), now=NOW, jitter=0.5)

    assert verdict.worth_an_alert is alert


def test_a_person_hears_of_an_expired_token_at_once() -> None:
    """A token that expired while it could not be refreshed is worth an alert at the first failure."""
    expired = token(expires_at=NOW - seconds(1))

    assert after_failure(expired, PLAIN, Refused("odd"), now=NOW, jitter=0.5).worth_an_alert


@given(
    failures=st.integers(0, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    error=st.sampled_from(EVERY_ERROR),
    facts=st.sampled_from([PLAIN, WINDOWED, STRICT]),
)
def test_every_retry_lies_ahead(
    failures: int, jitter: float, error: ProviderError, facts: ProviderFacts
) -> None:
    """No decision ever asks for another presentation at once: there is always a wait."""
    verdict = after_failure(token(failures=failures), facts, error, now=NOW, jitter=jitter)

    match verdict.token:
        case RetryAt(at) | InDoubt(at):
            assert at > NOW
        case _:
            pytest.fail("nobody said that the grant is dead")
