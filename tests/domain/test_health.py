"""What a health check means for a token."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import (
    GrantRejected,
    InsufficientScope,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from domain.health import CheckOutcome, after_check
from domain.token import ReauthReason
from tests.domain.build import NOW, facts, seconds, token

DAILY = facts(check=timedelta(days=1))
REFUSED = GrantRejected("token_rejected", http_status=401)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, CheckOutcome.HEALTHY),
        (InsufficientScope("insufficient_scope"), CheckOutcome.INSUFFICIENT_SCOPE),
        (RateLimited("rate_limited"), CheckOutcome.RATE_LIMITED),
        (NotSent("connect_failed"), CheckOutcome.UNREACHABLE),
        (OutcomeUnknown("timeout"), CheckOutcome.UNREACHABLE),
        (REFUSED, CheckOutcome.DEFERRED),
    ],
)
def test_each_answer_has_its_outcome(error: ProviderError | None, outcome: CheckOutcome) -> None:
    """A missing scope, a rate limit and a network fault are no dead tokens."""
    verdict = after_check(token(), DAILY, error, now=NOW, jitter=0.5)

    assert verdict.outcome is outcome
    assert verdict.reauth is None


def test_a_refused_refreshable_token_is_refreshed_once() -> None:
    """The first refusal brings the refresh forward; the second one in a row does not do so again."""
    first = after_check(token(), DAILY, REFUSED, now=NOW, jitter=0.5)
    second = after_check(token(check_failures=1), DAILY, REFUSED, now=NOW, jitter=0.5)

    assert first.refresh_now
    assert not second.refresh_now
    assert second.reauth is None


def test_a_check_keeps_the_distance_between_refreshes() -> None:
    """A token refused seconds after its refresh is asked about again when the minimum interval is over."""
    young = token(last_refreshed_at=NOW - seconds(10))

    verdict = after_check(young, DAILY, REFUSED, now=NOW, jitter=0.5)

    assert not verdict.refresh_now
    assert verdict.check_due_at == NOW + seconds(50)


def test_an_unrefreshable_token_dies_at_the_second_refusal() -> None:
    """One refusal asks for a second opinion within minutes; the second one is believed."""
    first = after_check(token(refreshable=False), DAILY, REFUSED, now=NOW, jitter=0.5)
    second = after_check(token(refreshable=False, check_failures=1), DAILY, REFUSED, now=NOW, jitter=0.5)

    assert first.reauth is None
    assert first.check_due_at is not None
    assert first.check_due_at <= NOW + timedelta(minutes=5)
    assert second.reauth is ReauthReason.TOKEN_REVOKED


def test_good_news_clears_the_count() -> None:
    """Refusals count in a row; an accepted token starts again."""
    assert after_check(token(check_failures=1), DAILY, None, now=NOW, jitter=0.5).check_failures == 0


def test_a_provider_in_trouble_is_asked_later() -> None:
    """`Retry-After` of a check is obeyed."""
    error = RateLimited("rate_limited", retry_after=timedelta(hours=3))

    verdict = after_check(token(), DAILY, error, now=NOW, jitter=0.5)

    assert verdict.check_due_at is not None
    assert verdict.check_due_at >= NOW + timedelta(hours=3)
