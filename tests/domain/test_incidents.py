"""When a verdict hold opens, what becomes of a refusal under it, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import GrantRejected, Unavailable
from domain.incidents import (
    CONFIRMED_FOR,
    LONGEST_SPREAD,
    Calm,
    Ending,
    is_over,
    is_wave,
    may_open,
    spread,
    withheld,
)
from domain.policy import NeedsReauth, Withheld, after_failure
from domain.token import Status
from tests.domain.build import NOW, facts, seconds, token


@pytest.mark.parametrize(
    ("refused", "presented", "wave"),
    [
        (4, 4, False),  # however small the group: fewer than five are judged one by one
        (3, 3, False),
        (5, 5, True),
        (5, 25, True),  # exactly a fifth
        (5, 26, False),
        (6, 26, True),
        (199, 1000, False),
        (200, 1000, True),
        (5, 0, True),  # not in the record yet
    ],
)
def test_a_wave_is_five_and_a_fifth(refused: int, presented: int, wave: bool) -> None:
    assert is_wave(refused=refused, presented=presented) is wave


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_refusals_never_end_a_wave(refused: int, presented: int) -> None:
    """One more refused connection can make a wave, and never unmake one."""
    if is_wave(refused=refused, presented=presented):
        assert is_wave(refused=refused + 1, presented=presented)


CALM = Calm(presented=100, newly_refused=0, refused=0, come_back=0, succeeded=5, others=5, waiting=1)


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, True),
        ({"newly_refused": 5}, True),  # exactly a twentieth
        ({"newly_refused": 6}, False),
        ({"presented": 19, "newly_refused": 1}, False),  # in a small group none may be
        ({"presented": 20, "newly_refused": 1}, True),
        ({"succeeded": 4}, False),
        ({"succeeded": 4, "others": 4}, True),  # as many as there are
        ({"succeeded": 1, "others": 1}, True),
        ({"succeeded": 0, "others": 0}, False),  # nobody succeeds: a person decides
        ({"succeeded": 1, "others": 0}, True),
        ({"presented": 0, "succeeded": 0}, False),  # nothing was asked, nothing is known
        ({"refused": 90}, True),  # who is refused again is no new sign,
        ({"refused": 90, "come_back": 1}, False),  # unless refusals are known to be false by now
        ({"refused": 5, "come_back": 1}, True),
        ({"succeeded": 0, "others": 0, "waiting": 0}, True),  # nobody is left to be judged
        ({"succeeded": 0, "others": 0, "waiting": 0, "newly_refused": 6}, False),
    ],
)
def test_a_hold_ends_when_the_others_succeed(changes: dict[str, int], over: bool) -> None:
    assert is_over(replace(CALM, **changes)) is over


@pytest.mark.parametrize(
    ("ending", "ended_at", "may"),
    [
        (None, None, True),
        (Ending.RECOVERED, NOW, True),
        (Ending.DISMISSED, NOW, True),
        (Ending.ABANDONED, NOW, True),
        (Ending.CONFIRMED, NOW, False),
        (Ending.CONFIRMED, NOW - CONFIRMED_FOR + seconds(1), False),
        (Ending.CONFIRMED, NOW - CONFIRMED_FOR, True),
    ],
)
def test_a_confirmation_holds_for_a_day(ending: Ending | None, ended_at: datetime | None, may: bool) -> None:
    assert may_open(ending, ended_at, now=NOW) is may


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.IN_DOUBT])
@pytest.mark.parametrize("failures", [0, 3, 30])
def test_a_refusal_under_a_hold_is_tried_again_and_told_to_nobody(status: Status, failures: int) -> None:
    """Whether it was in doubt or not, and however often it has failed; the wait is the backoff's."""
    refused = replace(token(), status=status, failures=failures, presented_at=NOW, first_presented_at=NOW)
    sentence = after_failure(refused, facts(), GrantRejected("invalid_grant"), now=NOW, jitter=0.5)
    assert isinstance(sentence.token, NeedsReauth)

    verdict = withheld(sentence, refused, now=NOW, jitter=0.5)

    retry = after_failure(
        replace(refused, status=Status.ACTIVE), facts(), Unavailable("unavailable"), now=NOW, jitter=0.5
    )
    assert isinstance(verdict.token, Withheld)
    assert verdict.token.at == retry.token.at  # type: ignore[union-attr]  # a RetryAt
    assert not verdict.worth_an_alert


def test_other_failures_are_what_they_were() -> None:
    verdict = after_failure(token(), facts(), Unavailable("unavailable"), now=NOW, jitter=0.5)

    assert withheld(verdict, token(), now=NOW, jitter=0.5) is verdict


def test_who_is_tried_again_is_spread() -> None:
    assert spread(0) == timedelta()
    assert spread(50) == timedelta(seconds=5)
    assert spread(1_000_000) == LONGEST_SPREAD
