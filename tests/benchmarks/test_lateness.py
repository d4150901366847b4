"""What the benchmarks make of due times and commits."""

from __future__ import annotations

import pytest

from benchmarks.load.lateness import Refreshed, distribution, evenness, order, per_second


def late_by(*seconds: float, every: float = 0.1) -> list[Refreshed]:
    return [Refreshed(number * every, number * every + each) for number, each in enumerate(seconds)]


def test_lateness_is_commit_minus_planned_time() -> None:
    assert distribution(late_by(1, 2, 3)) == {"p50": 2.0, "p99": 3.0, "max": 3.0}
    assert distribution([]) == {"p50": None, "p99": None, "max": None}


def test_the_order_of_the_plan_is_one_and_the_reverse_minus_one() -> None:
    """One pair that changes places costs little; of a single token there is no order."""
    planned = late_by(*[5.0] * 100)
    reverse = [Refreshed(one.due, -one.due) for one in planned]
    swapped = [Refreshed(0, 1.15), Refreshed(0.1, 1), *planned[20:]]

    assert (order(planned), order(reverse), order(planned[:1])) == (1.0, -1.0, None)
    assert order(swapped) == pytest.approx(1, abs=0.001)
    assert order(swapped) != 1.0


def test_those_due_together_are_compared_with_each_other() -> None:
    """A lateness that grows over time is even; one that differs within ten seconds is not."""
    growing = late_by(*[number / 100 + 10 for number in range(600)])
    uneven = late_by(*[10.0 if number % 3 else 40.0 for number in range(600)])

    even = evenness(growing, 0)["due_together"]
    assert isinstance(even, dict)
    assert even["p99_to_p50_max"] < 1.06
    assert len(even["cohorts_second_count_p50_p99"]) == 6
    odd = evenness(uneven, 0)["due_together"]
    assert isinstance(odd, dict)
    assert odd["p99_to_p50_median"] == 4.0
    assert odd["p99_minus_p50_max_seconds"] == 30.0


def test_those_done_together_need_not_have_been_due_together() -> None:
    """Somebody who waited a minute longer than those who are done with him makes it uneven."""
    done = [Refreshed(100 + number / 100, 110 + number / 100) for number in range(100)]
    starved = [Refreshed(40.0, 110.5)] * 3

    together = evenness([*done, *starved], 0)["done_together"]
    assert isinstance(together, dict)
    assert together["p99_to_p50_max"] == pytest.approx(7.05)


def test_the_rate_is_that_of_the_middle() -> None:
    """Workers that are starting or running dry are not counted."""
    steady = [Refreshed(0, 10 + number / 50) for number in range(800)]
    slow_ends = [Refreshed(0, number / 10) for number in range(100)]
    last = [Refreshed(0, 26 + number) for number in range(100)]

    assert per_second(steady) == 50.0
    assert per_second([*slow_ends, *steady, *last]) == pytest.approx(50.0, rel=0.01)
    assert per_second(steady[:2]) is None
