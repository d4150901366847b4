"""How many threads a provider may hold, and how many of its messages a tick may publish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.share import PROMPT, Allowance, Share, allowed, kept_free

HANGING = 15.0


def after(share: Share, seconds: float, *, calls: int, in_use: int | None = None) -> Share:
    """The share after so many calls, with all of it in use unless said otherwise."""
    for _ in range(calls):
        share = share.after(seconds, in_use=int(share.bound) if in_use is None else in_use)
    return share


@pytest.mark.parametrize(
    ("threads", "seconds", "most"),
    [(16, 0.2, 16), (16, PROMPT, 16), (16, 4.0, 8), (16, HANGING, 2), (8, HANGING, 1), (1, HANGING, 1)],
)
def test_what_calls_may_hold_falls_with_their_length(threads: int, seconds: float, most: int) -> None:
    """All threads while calls are prompt, and then as much time of threads as those have in a moment."""
    assert int(allowed(threads, seconds)) == most


def test_a_prompt_provider_comes_to_hold_nearly_all_threads() -> None:
    """From half, one more with four calls while all of it is in use, up to what is kept free."""
    share = Share.first(16)

    assert share.most(oldest=0.0, most=None) == 8
    assert after(share, 0.2, calls=4).most(oldest=0.0, most=None) == 9
    assert after(share, 0.2, calls=50).most(oldest=0.0, most=None) == 14


def test_a_hanging_provider_comes_to_hold_few() -> None:
    """However much it had: each call that took fifteen seconds takes a quarter of what is too much."""
    assert after(after(Share.first(16), 0.2, calls=50), HANGING, calls=12).most(oldest=0.0, most=None) == 2


def test_calls_under_way_count_before_they_end() -> None:
    """While the oldest call hangs, no more begin than calls of its age may be."""
    share = after(Share.first(16), 0.2, calls=50)

    assert [share.most(oldest=age, most=None) for age in (1.0, 4.0, 8.0, HANGING)] == [14, 8, 4, 2]


def test_what_is_not_used_is_not_kept() -> None:
    """A provider that needs one thread may have half, whatever it needed an hour ago."""
    once_busy = after(Share.first(16), 0.2, calls=50)

    assert after(once_busy, 0.2, calls=200, in_use=1).most(oldest=0.0, most=None) == 8


def test_a_definition_may_lift_what_is_kept_free_and_bounds_all_else() -> None:
    """`max_concurrency` is never exceeded; where it is as large as the worker, nothing is kept free."""
    busy = after(Share.first(16), 0.2, calls=50)

    assert busy.most(oldest=0.0, most=3) == 3
    assert busy.most(oldest=0.0, most=16) == 16
    assert busy.most(oldest=HANGING, most=16) == 2


@given(
    threads=st.integers(1, 200),
    calls=st.lists(st.tuples(st.floats(0, 60), st.integers(1, 200)), max_size=60),
    oldest=st.floats(0, 60),
)
def test_whatever_happened_a_share_is_at_least_one_and_leaves_some(
    threads: int, calls: list[tuple[float, int]], oldest: float
) -> None:
    """One thread at the least, so that recovery shows; never what is kept free, and less while it hangs."""
    share = Share.first(threads)
    for seconds, in_use in calls:
        share = share.after(seconds, in_use=in_use)
    most = share.most(oldest=oldest, most=None)

    assert 1 <= most <= max(1, threads - kept_free(threads))
    assert most <= max(1.0, allowed(threads, oldest))


def granted(*turned_away: int, room: int = 16) -> list[int]:
    """What ticks may publish, one after another."""
    allowance = Allowance()
    found = []
    for times in turned_away:
        allowance = allowance.after(turned_away=times, room=room)
        found.append(int(min(allowance.may, room)))
    return found


def test_what_is_turned_away_is_not_published() -> None:
    """Less and less of what finds no thread, down to one message a tick, which finds out when it is over."""
    assert granted(0, 16, 12, 8, 8, 8, 8) == [16, 12, 9, 7, 5, 3, 1]
    assert granted(0, *[100] * 9) == [16, *[1] * 9]


def test_what_is_taken_again_is_published_again() -> None:
    """A little more each tick, until there is no bound any more."""
    after_trouble = granted(0, 100, *[0] * 12)

    assert after_trouble[1:7] == [1, 2, 3, 4, 6, 7]
    assert after_trouble[-1] == 16
    assert Allowance().after(turned_away=0, room=5000).may == float("inf")


def test_a_full_queue_does_not_shrink_an_allowance() -> None:
    """That there was no room at one tick says nothing of how many slots there are."""
    allowance = Allowance().after(turned_away=0, room=400)

    assert allowance.after(turned_away=300, room=1).may == 325


def test_a_part_of_a_burst_that_is_turned_away_is_published_again() -> None:
    """Half of what was published had threads: to publish less would leave them idle."""
    assert granted(0, 8, 8, 8) == [16, 16, 16, 16]
    shrunk = Allowance(10.0, 10.0)
    assert shrunk.after(turned_away=5, room=16).may == 12.0
    assert shrunk.after(turned_away=6, room=16).may == 8.5
