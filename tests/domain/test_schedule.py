"""When tokens are refreshed, checked and retried."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backoff import LONGEST, backoff
from domain.provider import GrantKind
from domain.schedule import after_answer, after_import, min_interval
from tests.domain.build import NOW, PLAIN, facts, seconds, token

jitters = st.floats(0, 1, exclude_max=True)


@given(lifetime=st.integers(30, 60 * 86400), jitter=jitters)
def test_a_refresh_is_due_well_before_expiry(lifetime: int, jitter: float) -> None:
    """Between half and 85 % of the life, whatever its length: never at the edge, never at once."""
    schedule = after_answer(PLAIN, began_at=NOW, expires_in=seconds(lifetime), jitter=jitter)

    assert schedule.expires_at == NOW + seconds(lifetime)
    assert schedule.refresh_due_at is not None
    # The product of a timedelta and a float is rounded to microseconds.
    rounding = 1e-6
    assert 0.5 * lifetime - rounding <= (schedule.refresh_due_at - NOW).total_seconds()
    assert (schedule.refresh_due_at - NOW).total_seconds() <= 0.85 * lifetime + rounding


def test_refreshes_of_tokens_issued_together_are_spread() -> None:
    """Jitter moves the due time by a tenth of the life."""
    first, last = (
        after_answer(PLAIN, began_at=NOW, expires_in=timedelta(hours=1), jitter=jitter).refresh_due_at
        for jitter in (0.0, 0.999)
    )

    assert first is not None
    assert last is not None
    assert last - first > timedelta(minutes=5)


def test_an_answer_without_a_lifetime_takes_the_definitions() -> None:
    """`expires_in` may be missing; the provider's definition then says how long the token lives."""
    schedule = after_answer(PLAIN, began_at=NOW, expires_in=None, jitter=0.5)

    assert schedule.expires_at == NOW + timedelta(hours=1)


def test_a_token_of_unknown_life_is_refreshed_all_the_same() -> None:
    """Nobody knows when it expires, so its expiry stays unknown, and it is refreshed like an hourly one."""
    schedule = after_answer(facts(lifetime=None), began_at=NOW, expires_in=None, jitter=0.5)

    assert schedule.expires_at is None
    assert schedule.refresh_due_at is not None
    assert schedule.refresh_due_at < NOW + timedelta(hours=1)


def test_an_idle_refresh_token_is_exercised() -> None:
    """A refresh token that dies of 90 idle days is used after 45, though the access token lives a year."""
    lazy = facts(idle=timedelta(days=90), lifetime=timedelta(days=365))

    schedule = after_answer(lazy, began_at=NOW, expires_in=None, jitter=0.5)

    assert schedule.refresh_due_at == NOW + timedelta(days=45)


def test_a_refresh_token_that_is_renewed_by_use_is_used_in_time() -> None:
    """It lives half an hour, and the access token an hour: half of the shorter life is waited for."""
    schedule = after_answer(
        PLAIN, began_at=NOW, expires_in=timedelta(hours=1), jitter=0.5, refresh_lives=timedelta(minutes=30)
    )

    assert schedule.refresh_due_at == NOW + timedelta(minutes=15)


@given(left=st.integers(1, 7 * 86400), jitter=jitters)
def test_what_is_left_of_a_grant_is_not_used_up_by_refreshes(left: int, jitter: float) -> None:
    """Near its own end each new refresh token lives as long as is left: never more than one refresh a minute
    for that, and never later than without."""
    plain = after_answer(PLAIN, began_at=NOW, expires_in=timedelta(hours=1), jitter=jitter)

    due = after_answer(
        PLAIN, began_at=NOW, expires_in=timedelta(hours=1), jitter=jitter, refresh_lives=seconds(left)
    ).refresh_due_at

    assert due is not None
    assert plain.refresh_due_at is not None
    assert NOW + seconds(60) <= due <= plain.refresh_due_at


def test_an_imported_refresh_token_is_renewed_before_it_dies() -> None:
    """Its access token lives for weeks, and it itself for two days."""
    schedule = after_import(
        facts(lifetime=timedelta(days=60)),
        now=NOW,
        expires_at=NOW + timedelta(days=50),
        refreshable=True,
        jitter=0.5,
        refresh_expires_at=NOW + timedelta(days=2),
    )

    assert schedule.refresh_due_at == NOW + timedelta(days=1)


def test_a_token_that_never_expires_is_only_checked() -> None:
    """No expiry, no refresh; the first check comes within minutes of the import."""
    forever = facts(grant=GrantKind.NONE, lifetime=None, check=timedelta(hours=6))

    schedule = after_import(forever, now=NOW, expires_at=None, refreshable=False, jitter=0.5)

    assert schedule.expires_at is None
    assert schedule.refresh_due_at is None
    assert schedule.check_due_at is not None
    assert schedule.check_due_at <= NOW + timedelta(minutes=10)


@pytest.mark.parametrize("left", [-3600, -1, 0, 60, 600])
def test_an_imported_token_near_its_end_is_due_at_once(left: int) -> None:
    """Expired or nearly so on arrival: refreshed now, and not at some share of a life it does not have."""
    schedule = after_import(PLAIN, now=NOW, expires_at=NOW + seconds(left), refreshable=True, jitter=0.5)

    assert schedule.refresh_due_at == NOW


def test_an_import_without_expiry_is_refreshed_soon_to_learn_it() -> None:
    """Unknown expiries are spread over the first minutes."""
    schedule = after_import(PLAIN, now=NOW, expires_at=None, refreshable=True, jitter=0.5)

    assert schedule.refresh_due_at == NOW + timedelta(minutes=5)


@pytest.mark.parametrize(("lifetime", "interval"), [(30, 15), (60, 30), (120, 60), (3600, 60)])
def test_two_refreshes_keep_their_distance(lifetime: int, interval: int) -> None:
    """A minute, at most half the life."""
    lived = token(issued_at=NOW, expires_at=NOW + seconds(lifetime))

    assert min_interval(lived) == seconds(interval)


@given(failures=st.integers(1, 100_000), jitter=jitters, lifetime=st.integers(30, 10**7))
def test_backoff_waits_and_ends(failures: int, jitter: float, lifetime: int) -> None:
    """Never less than a second, never more than an hour."""
    wait = backoff(failures, lifetime=seconds(lifetime), jitter=jitter)

    assert seconds(1) <= wait <= LONGEST


@given(failures=st.integers(1, 12), jitter=jitters)
def test_backoff_grows(failures: int, jitter: float) -> None:
    """The next wait is never shorter than half of twice the one before, up to the cap."""
    before = backoff(failures, lifetime=None, jitter=jitter)

    # A timedelta rounds to whole microseconds, once on each side.
    rounding = timedelta(microseconds=2)
    assert backoff(failures + 1, lifetime=None, jitter=jitter) >= min(before * 2, LONGEST / 2) - rounding


@given(asked=st.integers(1, 86400), failures=st.integers(1, 50), jitter=jitters)
def test_backoff_never_undercuts_the_providers_wish(asked: int, failures: int, jitter: float) -> None:
    """`Retry-After` is a floor."""
    assert backoff(failures, lifetime=None, jitter=jitter, retry_after=seconds(asked)) >= seconds(asked)
