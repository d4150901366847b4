"""When shortage has lasted, and when it is over."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import Standing
from domain.shortage import LONGEST_GAP, OVER_AFTER, TOLD_AFTER, Seen
from tests.domain.build import NOW, seconds


def looks(*found: Standing, every: float = 10) -> Seen:
    seen = Seen()
    for number, each in enumerate(found):
        seen = seen.then(each, now=NOW + seconds(every * number))
    return seen


def test_shortage_is_told_once_it_has_lasted() -> None:
    """A minute of looks that all find it; one that does not begins it anew."""
    lasting = int(TOLD_AFTER / seconds(10)) + 1

    assert looks(*[Standing.SHORT] * lasting).is_short
    assert not looks(*[Standing.SHORT] * (lasting - 1)).is_short
    assert not looks(*[Standing.SHORT] * (lasting - 1), Standing.CATCHING_UP, Standing.SHORT).is_short
    assert not looks(Standing.SHORT, Standing.SHORT, every=100).is_short, "two looks are too few"


def test_it_is_over_once_nothing_is_late_any_more() -> None:
    """Catching up neither tells nor takes back."""
    lasting = int(OVER_AFTER / seconds(10)) + 1

    assert looks(Standing.SHORT, *[Standing.ON_TIME] * lasting).is_over
    assert not looks(Standing.SHORT, *[Standing.ON_TIME] * (lasting - 1)).is_over
    assert not looks(*[Standing.CATCHING_UP] * 50).is_over
    assert not looks(*[Standing.CATCHING_UP] * 50).is_short


def test_a_gap_in_the_looks_begins_anew() -> None:
    """Postgres was away, or the process stood still: nothing is known of the time between."""
    seen = looks(*[Standing.SHORT] * 5)
    assert not seen.then(Standing.SHORT, now=NOW + LONGEST_GAP + seconds(41)).is_short
    assert seen.then(Standing.SHORT, now=NOW + LONGEST_GAP + seconds(40)).is_short


@given(st.lists(st.sampled_from(Standing), max_size=60))
def test_it_is_never_short_and_over_at_once(found: list[Standing]) -> None:
    """Whatever is seen, at most one of the two is told; the last look decides which one it can be."""
    seen = looks(*found)

    assert not (seen.is_short and seen.is_over)
    if seen.is_short:
        assert found[-1] is Standing.SHORT
    if seen.is_over:
        assert found[-1] is Standing.ON_TIME


def test_a_clock_that_is_set_back_begins_anew() -> None:
    """What was seen an hour ahead says nothing of now; a look that comes a moment late changes nothing."""
    seen = looks(*[Standing.SHORT] * 10)
    assert seen.is_short

    assert seen.then(Standing.ON_TIME, now=NOW + seconds(85)) == seen
    back = seen.then(Standing.ON_TIME, now=NOW - timedelta(hours=1))
    assert not back.is_short
    assert back.then(Standing.ON_TIME, now=NOW - timedelta(hours=1) + OVER_AFTER).is_over
