"""When a doubt waits for the place that may still hold its answer, and when it does not any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.doubt import (
    LONGEST_GRACE,
    LOOK_AGAIN,
    SHORTEST_GRACE,
    WINDOW_MARGIN,
    Presenter,
    grace,
    waits_until,
)
from domain.provider import ProviderFacts
from domain.timing import timing_of
from domain.token import Status, TokenState
from tests.domain.build import NOW, PLAIN, STRICT, WINDOWED, facts, seconds, token

PRESENTED = NOW - timedelta(minutes=25)
AGAIN = NOW + LOOK_AGAIN
SETTLED = Presenter(seen_at=NOW, settled_until=PRESENTED + seconds(1), gone=False, staged=0)
#: The presenter, and whether a strict doubt is recovered now.
PRESENTERS = {
    "unknown": (None, True),
    "settled": (SETTLED, True),
    "settled long ago and silent": (replace(SETTLED, seen_at=PRESENTED + seconds(2)), True),
    "gone": (replace(SETTLED, settled_until=PRESENTED - seconds(9), gone=True), True),
    "alive and unsettled": (replace(SETTLED, settled_until=PRESENTED), False),
    "silent within grace": (
        replace(SETTLED, settled_until=PRESENTED, seen_at=NOW - LONGEST_GRACE + seconds(1)),
        False,
    ),
    "silent for its grace": (
        replace(SETTLED, settled_until=PRESENTED, seen_at=NOW - LONGEST_GRACE),
        True,
    ),
    "silent beyond": (replace(SETTLED, settled_until=PRESENTED, seen_at=NOW - timedelta(hours=1)), True),
    "staged": (replace(SETTLED, staged=1), False),
    "staged and dead": (replace(SETTLED, staged=1, seen_at=NOW - timedelta(days=9)), False),
    "staged and called gone": (replace(SETTLED, staged=1, gone=True), False),
}


def doubt(presented_at: datetime = PRESENTED, **changes: object) -> TokenState:
    return token(
        **{
            "status": Status.IN_DOUBT,
            "presented_at": presented_at,
            "first_presented_at": presented_at,
            **changes,
        }
    )


@pytest.mark.parametrize("name", PRESENTERS)
def test_a_strict_doubt_waits_for_its_presenter(name: str) -> None:
    """One attempt, and only when the answer can be nowhere: reported empty, or its grace is over."""
    presenter, recovered = PRESENTERS[name]

    assert waits_until(doubt(), STRICT, presenter, now=NOW) == (None if recovered else AGAIN)


@pytest.mark.parametrize("name", PRESENTERS)
@pytest.mark.parametrize(
    "provider", [PLAIN, facts(STRICT.rotation, "unlimited"), facts(STRICT.rotation, "until_successor_used")]
)
def test_where_repeating_is_free_nothing_is_waited_for(provider: ProviderFacts, name: str) -> None:
    """No place can hold anything that presenting again would cost."""
    for shelf_known in (True, False):
        for stuck in (True, False):
            assert (
                waits_until(
                    doubt(NOW),
                    provider,
                    PRESENTERS[name][0],
                    stuck=stuck,
                    shelf_known=shelf_known,
                    now=NOW,
                )
                is None
            )


@pytest.mark.parametrize("name", PRESENTERS)
def test_a_window_that_has_closed_waits_as_a_strict_one(name: str) -> None:
    """Outside of the window the same is at stake."""
    presenter, recovered = PRESENTERS[name]

    assert waits_until(doubt(), WINDOWED, presenter, now=NOW) == (None if recovered else AGAIN)


@pytest.mark.parametrize("name", PRESENTERS)
def test_what_lies_here_and_cannot_be_opened_is_waited_for(name: str) -> None:
    """Whatever is known of the presenter: nothing is presented over an answer that is there."""
    assert waits_until(doubt(), STRICT, PRESENTERS[name][0], stuck=True, now=NOW) == AGAIN


@pytest.mark.parametrize("name", ["unknown", "settled", "gone"])
@pytest.mark.parametrize(
    ("since", "recovered"),
    [(LONGEST_GRACE - seconds(1), False), (LONGEST_GRACE, True), (timedelta(hours=1), True)],
)
def test_a_silent_redis_has_its_grace(name: str, since: timedelta, recovered: bool) -> None:
    """It is counted from the presentation: an answer that came later than that is nobody's."""
    presented_at = NOW - since
    presenter = PRESENTERS[name][0]
    if presenter is not None and not presenter.gone:
        presenter = replace(presenter, settled_until=presented_at + seconds(1))

    later = waits_until(doubt(presented_at), STRICT, presenter, shelf_known=False, now=NOW)

    assert later == (None if recovered else AGAIN)


#: The last moment at which a presentation with its deadline and a margin still falls into the window.
LAST = PRESENTED + timedelta(minutes=10) - timing_of(WINDOWED).deadline - WINDOW_MARGIN


@pytest.mark.parametrize("name", [name for name, (_, recovered) in PRESENTERS.items() if not recovered])
@pytest.mark.parametrize(
    ("now", "later"),
    [
        (PRESENTED + seconds(46), PRESENTED + seconds(46) + LOOK_AGAIN),
        (LAST - LOOK_AGAIN, LAST),
        (LAST - seconds(1), LAST),
        (LAST, None),
        (LAST + seconds(1), None),
        (LAST + WINDOW_MARGIN, None),
        # From here on the window has closed, and it is the last resort's turn.
        (LAST + WINDOW_MARGIN + seconds(1), LAST + WINDOW_MARGIN + seconds(1) + LOOK_AGAIN),
    ],
)
def test_a_window_is_waited_out_and_not_missed(name: str, now: datetime, later: datetime | None) -> None:
    """Inside the window the answer may come until the last moment; then it is presented again."""
    presenter = PRESENTERS[name][0]
    assert presenter is not None
    presenter = replace(presenter, seen_at=now)

    assert waits_until(doubt(), WINDOWED, presenter, now=now) == later


@pytest.mark.parametrize(
    ("lifetime", "waited"),
    [
        (None, LONGEST_GRACE),
        (timedelta(days=1), LONGEST_GRACE),
        (timedelta(minutes=5), timedelta(minutes=5)),
        (seconds(5), SHORTEST_GRACE),
    ],
)
def test_short_lived_tokens_have_a_short_grace(lifetime: timedelta | None, waited: timedelta) -> None:
    """A token's life is the most that is waited, a minute at least and ten at most."""
    expires_at = None if lifetime is None else NOW + lifetime
    assert grace(token(issued_at=NOW, expires_at=expires_at)) == waited


@given(
    provider=st.sampled_from([STRICT, WINDOWED, PLAIN]),
    presented=st.integers(0, 7200),
    first=st.integers(0, 7200),
    seen=st.integers(-60, 7200),
    settled=st.integers(-60, 7200),
    gone=st.booleans(),
    staged=st.integers(0, 2),
    shelf_known=st.booleans(),
)
def test_it_looks_again_soon_and_later(
    provider: ProviderFacts,
    presented: int,
    first: int,
    seen: int,
    settled: int,
    gone: bool,
    staged: int,
    shelf_known: bool,
) -> None:
    """Whatever the state: the next look is in the future and within seconds, never an hour away."""
    presenter = Presenter(NOW - seconds(seen), NOW - seconds(settled), gone=gone, staged=staged)
    state = doubt(NOW - seconds(presented), first_presented_at=NOW - seconds(max(first, presented)))

    later = waits_until(state, provider, presenter, shelf_known=shelf_known, now=NOW)

    assert later is None or NOW < later <= AGAIN
