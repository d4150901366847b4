"""Deadline, lease and settling time fit into every replay window that counts as one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.provider import GrantKind, ProviderFacts, Replay, Rotation
from domain.timing import DISCOVERY, replay_of, timing_of
from tests.domain.build import facts, seconds

ROTATES = Rotation.SINGLE_USE


@given(window=st.integers(0, 86400))
def test_a_killed_workers_presentation_can_be_repeated_inside_a_usable_window(window: int) -> None:
    """Lease, settling, discovery, and one more deadline: all of it fits, or the window counts as none."""
    provider = facts(ROTATES, seconds(window))
    timing = timing_of(provider)

    if replay_of(provider) is Replay.WITHIN_WINDOW:
        recovered_by = timing.lease + timing.settling + DISCOVERY + timing.deadline
        assert recovered_by <= seconds(window)


def test_a_minute_is_a_window_that_can_be_used() -> None:
    """The shortest window that is: a minute is what providers with a short grace mostly give."""
    assert replay_of(facts(ROTATES, seconds(60))) is Replay.WITHIN_WINDOW
    assert replay_of(facts(ROTATES, seconds(59))) is Replay.LAST_RESORT


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (facts(Rotation.NONE), Replay.FREELY),
        (facts(grant=GrantKind.CLIENT_CREDENTIALS), Replay.FREELY),
        (facts(ROTATES, "until_successor_used"), Replay.FREELY),
        (facts(ROTATES, "unlimited"), Replay.FREELY),
        (facts(ROTATES, timedelta(minutes=10)), Replay.WITHIN_WINDOW),
        (facts(ROTATES, seconds(30)), Replay.LAST_RESORT),
        (facts(ROTATES, seconds(0)), Replay.LAST_RESORT),
        (facts(Rotation.OPTIONAL, None), Replay.LAST_RESORT),
        (facts(Rotation.OPTIONAL, seconds(0)), Replay.LAST_RESORT),
    ],
)
def test_what_may_be_done_after_silence(provider: ProviderFacts, expected: Replay) -> None:
    """Unknown rotation is treated like single use without a window: being wrong there kills a grant."""
    assert replay_of(provider) is expected


@given(window=st.one_of(st.none(), st.integers(0, 86400).map(seconds)))
def test_the_deadline_is_well_under_the_lease(window: timedelta | None) -> None:
    """Twice the deadline fits into the lease, so a slow claim does not eat it up."""
    timing = timing_of(facts(ROTATES, window))

    assert timing.deadline * 2 <= timing.lease
