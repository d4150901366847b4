"""Down, or failing for some: what the recent calls of a process say."""

from __future__ import annotations

from random import Random

import pytest

from domain.outage import FOR_SECONDS, REMEMBERED, RecentByScope, RecentCalls


def after(calls: str, *, apart: float = 0.1) -> bool:
    """Note calls, `.` for one that was answered and `x` for one that failed, and ask."""
    recent = RecentCalls()
    for number, call in enumerate(calls):
        recent.note(ok=call == ".", at=number * apart)
    return recent.is_down(now=len(calls) * apart)


@pytest.mark.parametrize(
    ("calls", "down"),
    [
        ("", False),
        ("xxxx", False),
        ("xxxxx", True),
        ("xxxxx.", False),
        # A success a moment ago: the next failures must be many before it counts as luck.
        (".xxxxx", False),
        ("." + "x" * (REMEMBERED - 1), True),
        (".." + "x" * (REMEMBERED - 2), False),
        ("." * 30 + "x" * 18, False),
        ("." * 30 + "x" * 19, True),
    ],
)
def test_an_endpoint_is_down_when_everything_fails(calls: str, down: bool) -> None:
    """Five failures in a row where nothing else is known; nineteen of twenty where something is."""
    assert after(calls) is down


def test_what_is_old_says_nothing() -> None:
    """Successes of more than a minute ago do not speak for an endpoint that fails now."""
    assert after(".....xxxxx", apart=FOR_SECONDS / 5.5)
    assert not after(".....xxxxx", apart=FOR_SECONDS / 10)


def test_half_of_the_calls_failing_is_not_down() -> None:
    """Ten thousand calls of which half fail at random never look like an endpoint that is down."""
    dice, recent = Random(7), RecentCalls()
    for number in range(20):
        recent.note(ok=number % 2 == 0, at=number * 0.1)
    for number in range(20, 10_000):
        recent.note(ok=dice.random() < 0.5, at=number * 0.1)

        assert not recent.is_down(now=number * 0.1)


def test_scopes_whose_calls_are_old_are_forgotten() -> None:
    """Ten thousand scopes that fail once each, over two hours, are never remembered together."""
    known = RecentByScope()
    for number in range(10_000):
        known.note(f"scope-{number}", ok=False, at=number * 0.72)

        assert len(known) <= 2 * FOR_SECONDS / 0.72 + 1


def test_what_is_young_is_kept_when_old_scopes_are_forgotten() -> None:
    """Four failures in the last minute and a fifth one are an outage, although others were forgotten."""
    known = RecentByScope()
    known.note("gone", ok=False, at=0)
    for at in (50, 55, 59, 61):
        assert not known.note("ill", ok=False, at=at).is_down(now=at)

    assert known.note("ill", ok=False, at=62).is_down(now=62)
    assert len(known) == 1


def test_a_success_is_remembered_only_where_there_was_trouble() -> None:
    """A scope without failures costs nothing, and one whose failures have left its memory ends to."""
    known = RecentByScope()
    known.note_success_after_trouble("well", at=0)
    assert len(known) == 0

    known.note("ill", ok=False, at=0)
    for number in range(REMEMBERED - 1):
        known.note_success_after_trouble("ill", at=number / 100)
    assert len(known) == 1
    known.note_success_after_trouble("ill", at=1)
    assert len(known) == 0
