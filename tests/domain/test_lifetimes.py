"""How long grants live, and from when on somebody is told that one will die."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.lifetimes import End, EndOf, Life, ends, forecast, near_limit, nearest, refresh_token_end
from domain.provider import GrantKind, GrantLimit, ProviderFacts, Rotation
from domain.schedule import after_answer
from tests.domain.build import NOW, PLAIN, STRICT

DAY = timedelta(days=1)
WEEK = 7 * DAY
HOUR = timedelta(hours=1)
#: Connected ten days ago, refreshed half an hour ago.
HEALTHY = Life(
    connected_at=NOW - 10 * DAY,
    issued_at=NOW - HOUR / 2,
    expires_at=NOW + HOUR / 2,
    refresh_due_at=NOW + HOUR / 4,
)


def life(**changes: object) -> Life:
    return replace(HEALTHY, **changes)  # type: ignore[arg-type]  # a test names the fields it means


def facts(base: ProviderFacts = PLAIN, **changes: object) -> ProviderFacts:
    return replace(base, **changes)  # type: ignore[arg-type]  # as above


def told(facts: ProviderFacts, life: Life, *, ahead: timedelta = WEEK) -> EndOf | None:
    end = forecast(facts, life, now=NOW, ahead=ahead)
    return None if end is None else end.of


@pytest.mark.parametrize("lives", [PLAIN, STRICT])
def test_a_grant_of_which_no_end_is_known_has_none(lives: ProviderFacts) -> None:
    assert list(ends(lives, HEALTHY)) == []
    assert nearest(lives, HEALTHY) is None


@pytest.mark.parametrize(
    ("known", "grant", "of"),
    [
        (facts(grant_lifetime=60 * DAY), life(connected_at=NOW - 54 * DAY), EndOf.GRANT),
        (facts(STRICT, grant_lifetime=60 * DAY), life(connected_at=NOW - 54 * DAY), EndOf.GRANT),
        (facts(refresh_token_lifetime=11 * DAY), life(), EndOf.REFRESH_TOKEN),
        (
            facts(STRICT, refresh_token_lifetime=11 * DAY),
            life(refresh_expires_at=NOW + DAY, dies_at=NOW + DAY),
            EndOf.REFRESH_TOKEN,
        ),
        (PLAIN, life(refresh_expires_at=NOW + DAY, dies_at=NOW + DAY), EndOf.TOLD),
        (
            PLAIN,
            life(connected_at=NOW - 6.5 * DAY, refresh_expires_at=NOW + DAY / 2, dies_at=NOW + DAY / 2),
            EndOf.TESTING,
        ),
        (
            PLAIN,
            life(refreshable=False, refresh_due_at=None, expires_at=NOW + HOUR / 9),
            EndOf.NOT_REFRESHABLE,
        ),
        (
            facts(grant=GrantKind.NONE),
            life(refreshable=False, refresh_due_at=None, issued_at=NOW - 50 * DAY, expires_at=NOW + 6 * DAY),
            EndOf.NOT_REFRESHABLE,
        ),
        (
            facts(refresh_token_idle_lifetime=90 * DAY),
            life(issued_at=NOW - 85 * DAY, failures=9),
            EndOf.IDLE,
        ),
        (
            facts(refresh_token_idle_lifetime=90 * DAY),
            life(issued_at=NOW - 85 * DAY, refresh_due_at=NOW - 2 * HOUR),
            EndOf.IDLE,
        ),
        (
            facts(STRICT, refresh_token_lifetime=90 * DAY),
            life(issued_at=NOW - 85 * DAY, refresh_expires_at=NOW + 5 * DAY, failures=1),
            EndOf.REFRESH_TOKEN,
        ),
    ],
)
def test_what_ends_within_the_week_is_told_with_its_cause(
    known: ProviderFacts, grant: Life, of: EndOf
) -> None:
    assert told(known, grant) is of


@pytest.mark.parametrize(
    ("known", "grant"),
    [
        # A week is too soon to tell what ends in eight days.
        (facts(grant_lifetime=60 * DAY), life(connected_at=NOW - 52 * DAY)),
        # Of sixteen days a seventh is two.
        (facts(grant_lifetime=16 * DAY), life(connected_at=NOW - 13 * DAY)),
        # Half of its life is left to what the provider gave seven days.
        (PLAIN, life(connected_at=NOW - 4 * DAY, refresh_expires_at=NOW + 3 * DAY, dies_at=NOW + 3 * DAY)),
        # Refreshing moves these, and it is being refreshed.
        (facts(refresh_token_idle_lifetime=DAY), life()),
        (facts(STRICT, refresh_token_lifetime=DAY), life(refresh_expires_at=NOW + 23 * HOUR)),
        (STRICT, life(refresh_expires_at=NOW + HOUR / 2)),
        # There is no refresh token.
        (facts(grant=GrantKind.CLIENT_CREDENTIALS), life(refresh_expires_at=NOW + HOUR)),
    ],
)
def test_what_lives_on_is_not_told(known: ProviderFacts, grant: Life) -> None:
    assert told(known, grant) is None


def test_the_providers_own_word_counts_before_the_definitions_idle_life() -> None:
    """It has said of this very token that it lives longer than the pages say."""
    known = facts(STRICT, refresh_token_idle_lifetime=100 * DAY)
    unused = life(issued_at=NOW - 99 * DAY, failures=9)

    assert told(known, unused) is EndOf.IDLE
    assert told(known, replace(unused, refresh_expires_at=NOW + 80 * DAY)) is None


def test_a_refresh_after_the_end_proves_that_there_was_none() -> None:
    """The provider knows better than its pages: who was refreshed after his end lives on."""
    known = facts(grant_lifetime=9 * DAY)

    assert told(known, life()) is None
    assert told(known, life(issued_at=NOW - 2 * DAY)) is EndOf.GRANT


@given(
    whole=st.timedeltas(timedelta(minutes=1), 4000 * DAY), ahead=st.timedeltas(timedelta(seconds=1), 90 * DAY)
)
def test_it_is_told_in_time_and_not_all_the_time(whole: timedelta, ahead: timedelta) -> None:
    """Never further ahead than asked for, never before two thirds of the life are over, and always before its
    end; a grant of seven days is told of one day ahead."""
    end = End(NOW, EndOf.TOLD, whole)

    before = NOW - end.told_from(ahead)

    assert timedelta(0) < before <= ahead
    assert before <= whole / 3 + timedelta(microseconds=1)
    assert End(NOW, EndOf.TOLD, WEEK).told_from(WEEK) == NOW - DAY


@given(
    facts_of=st.builds(
        ProviderFacts,
        provider_id=st.just("acme"),
        grant=st.sampled_from(GrantKind),
        rotation=st.sampled_from(Rotation),
        refresh_token_idle_lifetime=st.none() | st.timedeltas(HOUR, 400 * DAY),
        refresh_token_lifetime=st.none() | st.timedeltas(HOUR, 400 * DAY),
        grant_lifetime=st.none() | st.timedeltas(HOUR, 4000 * DAY),
    ),
    ages=st.tuples(*[st.none() | st.timedeltas(-400 * DAY, 400 * DAY)] * 5),
    connected=st.timedeltas(timedelta(0), 4000 * DAY),
    failures=st.integers(0, 3),
    refreshable=st.booleans(),
    ahead=st.timedeltas(HOUR, 30 * DAY),
)
def test_whatever_is_told_is_one_of_the_ends(
    facts_of: ProviderFacts,
    ages: tuple[timedelta | None, ...],
    connected: timedelta,
    failures: int,
    refreshable: bool,
    ahead: timedelta,
) -> None:
    """Of any life: what is told is an end that is known, and not after `ahead`; of a grant that is refreshed
    as it should be, never one that refreshing moves."""
    issued, expires, refresh_expires, dies, due = (None if age is None else NOW + age for age in ages)
    any_life = Life(NOW - connected, issued, expires, refresh_expires, dies, due, failures, refreshable)

    end = forecast(facts_of, any_life, now=NOW, ahead=ahead)

    if end is None:
        return
    assert end in list(ends(facts_of, any_life))
    assert end.at <= NOW + ahead
    assert not end.renewed or failures or (due is not None and due <= NOW - end.stuck_after())
    assert issued is None or issued <= end.at


@pytest.mark.parametrize(
    ("told_by_answer", "renewed", "ends_at"),
    [
        (timedelta(seconds=60), False, NOW + timedelta(seconds=60)),
        (timedelta(seconds=60), True, NOW + timedelta(seconds=60)),
        (None, True, NOW + 90 * DAY),
        (None, False, None),
    ],
)
def test_an_answers_own_word_counts_before_the_definition(
    told_by_answer: timedelta | None, renewed: bool, ends_at: object
) -> None:
    """And where neither brought a new token nor a word, what was known stays."""
    known = facts(STRICT, refresh_token_lifetime=90 * DAY)

    assert refresh_token_end(known, began_at=NOW, told=told_by_answer, renewed=renewed) == ends_at


@pytest.mark.parametrize(("most", "near"), [(100, 90), (5, 4), (1, 1), (20, 18)])
def test_a_limit_is_near_with_a_tenth_left(most: int, near: int) -> None:
    assert near_limit(GrantLimit(most)) == near


@given(lives=st.timedeltas(timedelta(minutes=5), 400 * DAY), access=st.timedeltas(timedelta(minutes=1), WEEK))
def test_who_is_never_taken_up_is_told_of_before_he_dies(lives: timedelta, access: timedelta) -> None:
    """However short refresh tokens live: with all workers gone nothing fails, and nothing is refreshed; and
    whoever is refreshed when he is due is never told of."""
    known = facts(STRICT, refresh_token_lifetime=lives)
    schedule = after_answer(known, began_at=NOW, expires_in=access, jitter=0.5, refresh_lives=lives)
    due = schedule.refresh_due_at
    assert due is not None
    alone = Life(NOW, NOW, schedule.expires_at, NOW + lives, refresh_due_at=due)

    assert forecast(known, alone, now=due, ahead=WEEK) is None
    end = forecast(known, alone, now=NOW + lives - timedelta(seconds=1), ahead=WEEK)

    assert end is not None
    assert end.of is EndOf.REFRESH_TOKEN


def test_the_nearest_end_is_none_that_a_refresh_has_outlived() -> None:
    known = facts(grant_lifetime=9 * DAY, refresh_token_idle_lifetime=90 * DAY)

    end = nearest(known, HEALTHY)

    assert end is not None
    assert end.of is EndOf.IDLE


def test_of_a_grant_whose_refreshes_fail_the_first_end_is_nearest() -> None:
    """The same that the alert tells."""
    known = facts(STRICT, grant_lifetime=365 * DAY, refresh_token_idle_lifetime=60 * DAY)
    unused = life(connected_at=NOW - 100 * DAY, issued_at=NOW - 55 * DAY, refresh_due_at=NOW - HOUR)
    failing = replace(unused, failures=9)

    assert [each.of for each in (nearest(known, unused), nearest(known, failing)) if each] == [
        EndOf.GRANT,
        EndOf.IDLE,
    ]
    assert told(known, failing) is EndOf.IDLE


def test_a_token_that_is_replaced_now_and_then_is_not_taken_for_one_that_is_not() -> None:
    """The answers in between repeat it with what is left of its life. One that is nearly over although it is
    used is another matter."""
    known = facts(STRICT, rotation=Rotation.OPTIONAL, refresh_token_idle_lifetime=100 * DAY)
    repeated = life(refresh_expires_at=NOW + 99 * DAY, dies_at=NOW + 99 * DAY)
    unused = replace(repeated, issued_at=NOW - 95 * DAY, refresh_expires_at=NOW + 4 * DAY, failures=9)
    over = life(refresh_expires_at=NOW + 4 * DAY, dies_at=NOW + 4 * DAY)

    found = nearest(known, repeated), forecast(known, unused, now=NOW, ahead=WEEK)

    assert [(end.of, end.renewed) for end in found if end] == [(EndOf.TOLD, True)] * 2
    assert told(known, replace(over, connected_at=NOW - 1000 * DAY)) is EndOf.TOLD
