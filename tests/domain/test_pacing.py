"""Whether a provider's own rate is enough: what grows or expires is short, what takes its time is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import Share, Standing
from domain.pacing import paced_load, paced_standing, rate_wanted
from tests.domain.build import NOW, seconds

#: Twelve become due each second, ten are allowed and done.
SHORT = Share(
    "acme",
    due_per_second=12.0,
    done_per_second=10.0,
    overdue=500,
    lateness=seconds(60),
    reserve=seconds(600),
    most_per_second=10.0,
)


def standing(**changes: object) -> Standing:
    share = replace(SHORT, **changes)  # type: ignore[arg-type]  # a test names the fields it means
    return paced_standing(share, paced_load(NOW, share))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Standing.SHORT),
        ({"reserve": None}, Standing.SHORT),
        # Half of its rate at the worst, by which a sliding window lets it through.
        ({"done_per_second": 5.0}, Standing.SHORT),
        # It gets less, and a token expires before its turn.
        ({"due_per_second": 9.9, "overdue": 20_000, "lateness": seconds(590)}, Standing.SHORT),
        ({"due_per_second": 5.0, "expired": 3, "lateness": seconds(700)}, Standing.SHORT),
        # It takes an hour, and nothing expires for it.
        (
            {"due_per_second": 5.0, "overdue": 18_000, "lateness": seconds(3600), "reserve": None},
            Standing.CATCHING_UP,
        ),
        ({"lateness": seconds(5)}, Standing.CATCHING_UP),
        ({"overdue": 19}, Standing.ON_TIME),
        ({"overdue": 0}, Standing.ON_TIME),
        # These are for more workers.
        ({"most_per_second": None}, Standing.ON_TIME),
        ({"done_per_second": 4.9}, Standing.ON_TIME),
        # Ten an hour: what becomes due within a minute says nothing.
        ({"most_per_second": 10 / 3600, "done_per_second": 0.0, "overdue": 3}, Standing.ON_TIME),
        (
            {"most_per_second": 10 / 3600, "done_per_second": 0.0, "overdue": 3, "expired": 1},
            Standing.SHORT,
        ),
    ],
)
def test_one_reading_is_judged(changes: dict[str, object], expected: Standing) -> None:
    assert standing(**changes) is expected


@given(
    due=st.floats(0, 1000),
    most=st.floats(0.001, 1000),
    part=st.floats(0, 1.5),
    overdue=st.integers(0, 100_000),
    late=st.integers(0, 100_000),
    reserve=st.none() | st.integers(1, 100_000),
)
def test_what_keeps_pace_and_loses_nothing_is_never_short(
    due: float, most: float, part: float, overdue: int, late: int, reserve: int | None
) -> None:
    """Of any load: where more is done than becomes due, and nothing expires, no higher rate is asked for."""
    left = None if reserve is None else seconds(reserve)
    share = Share("acme", due, most * part, overdue, True, seconds(late), 0, left, most)

    load = paced_load(NOW, share)

    if load.surplus > 0 and load.first_expires_in is None:
        assert paced_standing(share, load) is not Standing.SHORT


def test_the_rate_that_is_wanted_leaves_room() -> None:
    """With exactly what becomes due nothing that was late would ever be on time again."""
    assert rate_wanted(paced_load(NOW, SHORT)) == pytest.approx(15.0)
    assert paced_load(NOW, SHORT).drained_in is None
    assert paced_load(NOW, replace(SHORT, due_per_second=5.0)).drained_in == timedelta(seconds=100)
