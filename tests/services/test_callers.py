"""Callers who wait leave room for others."""

from __future__ import annotations

from contextlib import ExitStack

from services.refresh.callers import Callers


def test_one_providers_callers_take_half_of_the_places() -> None:
    """The ninth caller of one provider finds no place among sixteen threads; another provider's does."""
    callers = Callers(16)
    with ExitStack() as held:
        places = [held.enter_context(callers.place("slow")) for _ in range(9)]

        assert places == [True] * 8 + [False]
        assert held.enter_context(callers.place("other"))


def test_a_quarter_of_the_threads_is_never_given_away() -> None:
    """Whatever the callers ask, four of sixteen threads stay free for fresh answers."""
    callers = Callers(16)
    with ExitStack() as held:
        places = [held.enter_context(callers.place(f"provider-{number}")) for number in range(16)]

        assert places.count(True) == 12


def test_a_place_is_given_back() -> None:
    """However the caller's wait ends, the place is free again."""
    callers = Callers(1)
    for _ in range(3):
        with callers.place("slow") as free:
            assert free
