"""When workers are short of what becomes due, when that is over, and the arithmetic of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.capacity import (
    DRAINS_WITHIN,
    EXPIRES_SOON,
    LEAST_OVERDUE,
    Load,
    Share,
    Standing,
    extrapolated,
    standing,
    total,
)
from tests.domain.build import NOW, seconds

RESERVE = timedelta(minutes=9)
#: Two workers at half more than they can do, a minute and a half after it began.
OVERLOADED = Share(
    "acme",
    due_per_second=300.0,
    done_per_second=200.0,
    overdue=9000,
    lateness=seconds(30),
    reserve=RESERVE,
)


def load(workers: int | None = 2, **changes: object) -> Load:
    return total(NOW, [replace(OVERLOADED, **changes)], workers=workers)  # type: ignore[arg-type]  # named fields


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, Standing.SHORT),
        ({"overdue": LEAST_OVERDUE - 1}, Standing.ON_TIME),  # however late: a handful is something else
        ({"lateness": seconds(10)}, Standing.ON_TIME),
        ({"lateness": seconds(10.1)}, Standing.CATCHING_UP),
        ({"lateness": seconds(19.9)}, Standing.CATCHING_UP),
        ({"lateness": seconds(20)}, Standing.SHORT),
        ({"done_per_second": 0.0}, Standing.SHORT),  # nobody works
        ({"done_per_second": 300.0}, Standing.SHORT),  # not less is not catching up
        ({"done_per_second": 315.0}, Standing.CATCHING_UP),  # gone in exactly ten minutes
        ({"done_per_second": 314.0}, Standing.SHORT),
        # A restart after an hour: everything is late, much has expired, and it is gone in four minutes.
        (
            {
                "due_per_second": 0.0,
                "overdue": 48_000,
                "lateness": timedelta(hours=1),
                "expired": 9000,
            },
            Standing.CATCHING_UP,
        ),
        # Tokens that live a minute have half a minute in which they may be late.
        ({"reserve": seconds(30), "lateness": seconds(15)}, Standing.SHORT),
        ({"reserve": seconds(30), "lateness": seconds(7.5)}, Standing.ON_TIME),
        ({"reserve": None}, Standing.SHORT),
        ({"due_per_second": 0.0, "done_per_second": 0.0}, Standing.SHORT),
    ],
)
def test_short_is_who_is_late_and_does_not_catch_up(changes: dict[str, object], found: Standing) -> None:
    assert standing(load(**changes)) is found  # type: ignore[arg-type]  # a test names fields


def test_nothing_to_do_is_on_time() -> None:
    """A deployment without tokens, or one whose providers are all held back, is short of nothing."""
    empty = total(NOW, [])

    assert standing(empty) is Standing.ON_TIME
    assert (empty.overdue, empty.reserve, empty.workers_missing, empty.first_expires_in) == (
        0,
        None,
        None,
        None,
    )
    assert empty.drained_in == timedelta(0)


def test_the_first_expiry_is_reckoned_from_how_fast_the_wait_grows() -> None:
    """At 300 due and 200 done each second the wait grows by a third of a second each second."""
    first = load().first_expires_in

    assert first is not None
    # 510 s of reserve are left to the head of the queue.
    assert first.total_seconds() == pytest.approx(3 * 510)
    assert load().expires_soon


def test_a_providers_backlog_is_not_hidden_by_what_others_get_done() -> None:
    """One that is slow falls behind for hours, while the others' tokens are refreshed as they come."""
    slow = share("slow", overdue=100, lateness=timedelta(minutes=5), due_per_second=3.0, done_per_second=1.2)
    fine = share("fine", overdue=500, lateness=seconds(2), due_per_second=300.0, done_per_second=390.0)

    assert standing(total(NOW, [slow, fine])) is Standing.SHORT
    assert total(NOW, [slow, fine]).worst == "slow"
    assert standing(total(NOW, [replace(slow, done_per_second=3.5), fine])) is Standing.CATCHING_UP


def test_a_handful_does_not_make_others_queue_late() -> None:
    """Five of one provider are stuck; at the other one as many as ever wait for two seconds."""
    stuck = share("stuck", overdue=5, lateness=timedelta(hours=1), due_per_second=0.0, done_per_second=0.0)
    busy = share("busy", overdue=500, lateness=seconds(2), due_per_second=347.0, done_per_second=346.0)

    assert standing(total(NOW, [stuck, busy])) is Standing.ON_TIME


def test_few_tokens_are_enough_where_nobody_works() -> None:
    """A small deployment whose workers are dead has no twenty tokens that are due."""
    waiting = share("acme", overdue=3, lateness=timedelta(minutes=5), due_per_second=0.0, done_per_second=0.0)

    assert standing(total(NOW, [waiting])) is Standing.SHORT
    assert standing(total(NOW, [waiting], workers=1)) is Standing.ON_TIME
    assert standing(total(NOW, [replace(waiting, done_per_second=0.02)])) is Standing.ON_TIME
    assert standing(total(NOW, [replace(waiting, lateness=seconds(110))])) is Standing.ON_TIME
    assert standing(total(NOW, [replace(waiting, most_per_second=0.005)])) is Standing.ON_TIME


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"reserve": None}, None),
        ({"overdue": 0}, None),
        ({"expired": 1}, timedelta(0)),
        ({"lateness": RESERVE}, timedelta(0)),
        ({"done_per_second": 300.0}, None),  # the wait stays as it is
        ({"due_per_second": 198.0}, timedelta(seconds=1530)),  # a dense burst, and not gone before
        ({"due_per_second": 100.0}, None),  # gone in a minute and a half
        ({"done_per_second": 0.0}, RESERVE - seconds(30)),  # nobody works: the oldest is the first
    ],
)
def test_who_expires_first(changes: dict[str, object], first: timedelta | None) -> None:
    assert load(**changes).first_expires_in == first  # type: ignore[arg-type]  # as above


def test_each_providers_wait_is_held_against_its_own_reserve() -> None:
    """Tokens that live for weeks may wait for long without anything expiring at the other provider."""
    patient = replace(OVERLOADED, provider_id="weeks", lateness=timedelta(hours=1), reserve=timedelta(days=2))

    both = total(NOW, [patient, replace(OVERLOADED, lateness=seconds(1))])

    assert both.reserve == RESERVE
    assert both.lateness > both.reserve
    assert both.first_expires_in is not None
    assert both.first_expires_in > seconds(500)


def test_expiry_far_away_wakes_nobody() -> None:
    """Tokens that live for weeks are late for days before one expires."""
    weeks = load(reserve=timedelta(days=2))

    assert weeks.first_expires_in is not None
    assert weeks.first_expires_in > EXPIRES_SOON
    assert not weeks.expires_soon
    assert standing(weeks) is Standing.SHORT


def test_workers_are_reckoned_by_what_one_does() -> None:
    """100 a second each: 300 at four fifths of their load are 375, so 4; a large backlog wants more."""
    assert (load().done_by_each, load().workers_missing) == (100.0, 2)
    assert load(overdue=120_000).workers_missing == 3
    assert load(workers=None).workers_missing is None
    assert load(done_per_second=0.0).workers_missing is None
    assert load(done_per_second=18.0).workers_missing is None, "they hardly work"


def share(provider_id: str, **changes: object) -> Share:
    ordinary = Share(provider_id, due_per_second=10.0, done_per_second=10.0, reserve=RESERVE)
    return replace(ordinary, **changes)  # type: ignore[arg-type]  # as above


def test_a_provider_that_gets_its_own_rate_needs_no_worker() -> None:
    """Its backlog is its own; where it does not get the rate that it may have, it counts."""
    late = {"overdue": 5000, "lateness": timedelta(hours=1), "most_per_second": 4.0}

    paced = total(NOW, [share("slow", done_per_second=3.9, **late), share("other")])
    starved = total(NOW, [share("slow", done_per_second=1.0, **late), share("other")])

    assert (paced.overdue, paced.due_per_second, paced.lateness) == (0, 10.0, timedelta(0))
    assert (starved.overdue, starved.due_per_second) == (5000, 20.0)


def test_a_rate_of_a_few_an_hour_is_never_missed_by_workers() -> None:
    """Between two of its requests nothing is done for minutes, as it should be."""
    hourly = share(
        "slow", overdue=30, lateness=timedelta(hours=2), done_per_second=0.0, most_per_second=0.005
    )

    assert standing(total(NOW, [hourly])) is Standing.ON_TIME


def test_the_provider_that_has_the_backlog_alone_is_named() -> None:
    """Where others' tokens are refreshed meanwhile; one that has nearly all of the work is not named."""
    late = share("late", overdue=900, lateness=seconds(60), done_per_second=2.0, reserve=seconds(100))
    fine = share("fine", overdue=10, done_per_second=50.0)

    assert total(NOW, [late, fine]).worst == "late"
    assert total(NOW, [replace(late, done_per_second=0.0)]).worst is None, "there are no others"
    assert total(NOW, [late, replace(fine, done_per_second=1.0)]).worst is None
    assert total(NOW, [late, replace(fine, overdue=900, lateness=seconds(60))]).worst is None
    assert total(NOW, [late, fine]).reserve == seconds(100)
    assert not total(NOW, [replace(late, exact=False), fine]).exact


def test_what_was_not_counted_is_as_dense() -> None:
    """Ten thousand that were due within the first tenth of the time are about a hundred thousand."""
    ends = {"oldest": NOW - seconds(100), "newest": NOW - seconds(90), "now": NOW}

    assert extrapolated(10_000, exact=False, **ends) == 100_000
    assert extrapolated(9_999, exact=True, **ends) == 9_999
    assert extrapolated(10_000, exact=False, **{**ends, "newest": NOW - seconds(100)}) == 10_000
    assert extrapolated(0, exact=True, oldest=None, newest=None, now=NOW) == 0


_SHARES = st.builds(
    Share,
    provider_id=st.just("acme"),
    due_per_second=st.floats(0, 1e5),
    done_per_second=st.floats(0, 1e5),
    overdue=st.integers(0, 10**8),
    lateness=st.timedeltas(timedelta(0), timedelta(days=30)),
    expired=st.integers(0, 10_000),
    reserve=st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=3650)),
)


@given(st.lists(_SHARES, max_size=4), st.none() | st.integers(0, 500))
def test_every_load_has_an_answer(shares: list[Share], workers: int | None) -> None:
    """No figure is negative, and whoever is rid of it within the time is not short."""
    whole = total(NOW, shares, workers=workers)
    first, drained, missing = whole.first_expires_in, whole.behind.drained_in, whole.workers_missing

    assert first is None or first >= timedelta(0)
    assert drained is None or drained >= timedelta(0)
    assert missing is None or missing >= 1
    if drained is not None and drained <= DRAINS_WITHIN and not whole.deserted:
        assert standing(whole) is not Standing.SHORT


@given(_SHARES, st.floats(0, 1e5))
def test_more_done_is_never_worse(share: Share, more: float) -> None:
    """Workers that do more make no shortage, and let nobody expire sooner."""
    faster = replace(share, done_per_second=share.done_per_second + more)

    if standing(total(NOW, [share])) is not Standing.SHORT:
        assert standing(total(NOW, [faster])) is not Standing.SHORT
    if faster.first_expires_in is not None:
        assert share.first_expires_in is not None
        assert share.first_expires_in <= faster.first_expires_in
