"""Why a row was not claimed, and what the caller hears."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.asks import (
    ClaimAgain,
    HeldByAnother,
    Lapsed,
    Outcome,
    Recover,
    RefreshAsk,
    Settled,
    Standing,
    standing,
    wanted,
)
from domain.token import Status
from tests.domain.build import NOW, seconds, token

SCHEDULED = RefreshAsk(scheduled=True)
ASKED = RefreshAsk()
FORCED = RefreshAsk(force=True)


@pytest.mark.parametrize(
    ("changes", "ask", "expected"),
    [
        ({"status": Status.DISCONNECTED}, FORCED, Settled(Outcome.NOT_FOUND, code="disconnected")),
        (
            {"status": Status.NEEDS_REAUTH, "reauth_reason": "grant_rejected"},
            FORCED,
            Settled(Outcome.NEEDS_REAUTH, code="grant_rejected"),
        ),
        ({"lease_until": NOW + seconds(9), "presented_at": NOW}, FORCED, HeldByAnother(NOW + seconds(9))),
        ({"lease_until": NOW - seconds(1), "presented_at": NOW - seconds(60)}, SCHEDULED, Lapsed()),
        ({"lease_until": NOW - seconds(1), "presented_at": NOW - seconds(60)}, FORCED, Lapsed()),
        (
            {"status": Status.IN_DOUBT, "refresh_due_at": NOW + seconds(5), "presented_at": NOW},
            FORCED,
            Settled(Outcome.DEFERRED, NOW + seconds(5), "in_doubt"),
        ),
        ({"status": Status.IN_DOUBT, "refresh_due_at": NOW, "presented_at": NOW}, SCHEDULED, Recover()),
        ({"refreshable": False}, FORCED, Settled(Outcome.NOT_REFRESHABLE)),
        ({}, SCHEDULED, Settled(Outcome.FRESH)),
        ({}, ASKED, Settled(Outcome.FRESH)),
        (
            {"not_before": NOW + seconds(40), "last_error_code": "rate_limited"},
            FORCED,
            Settled(Outcome.DEFERRED, NOW + seconds(40), "rate_limited"),
        ),
        (
            {"last_refreshed_at": NOW - seconds(20)},
            FORCED,
            Settled(Outcome.DEFERRED, NOW + seconds(40), "minimum_interval"),
        ),
        ({"refresh_due_at": NOW}, SCHEDULED, ClaimAgain()),
    ],
)
def test_each_reason_has_its_answer(changes: dict[str, object], ask: RefreshAsk, expected: Standing) -> None:
    """Force skips the question of freshness alone: never lease, doubt, backoff or the minimum interval."""
    assert standing(token(**changes), ask, now=NOW) == expected


@pytest.mark.parametrize(
    ("left", "min_validity", "expected"),
    [(61, 60, False), (60, 60, True), (59, 60, True), (1801, 86400, False), (1800, 86400, True)],
)
def test_validity_is_capped_at_half_the_life(left: int, min_validity: int, expected: bool) -> None:
    """Asking an hourly token to live a day must not refresh it on every call."""
    expires_at = NOW + seconds(left)
    held = token(issued_at=expires_at - timedelta(hours=1), expires_at=expires_at, refresh_due_at=None)

    assert wanted(held, RefreshAsk(min_validity=seconds(min_validity)), now=NOW) is expected


@pytest.mark.parametrize(("version", "expected"), [(7, True), (6, False)])
def test_if_version_refreshes_only_that_version(version: int, expected: bool) -> None:
    """After a 401 the caller names the version that failed him; a newer one is fresh by definition."""
    assert wanted(token(), RefreshAsk(if_version=version), now=NOW) is expected
