"""Deadline, lease and settling time of a provider, fitted into its replay window."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from domain.provider import GrantKind, ProviderFacts, Replay, Rotation, Timing

#: For providers without a window, or with one that leaves room.
ROOMY: Final = Timing(
    deadline=timedelta(seconds=15), lease=timedelta(seconds=40), settling=timedelta(seconds=30)
)
#: For windows that leave little room. Five seconds still cover a slow token endpoint's p99.
TIGHT: Final = Timing(
    deadline=timedelta(seconds=5), lease=timedelta(seconds=10), settling=timedelta(seconds=5)
)
#: The longest a lapsed lease stays unnoticed while beat ticks: the scheduler's mark (30 s) and two ticks.
DISCOVERY: Final = timedelta(seconds=40)
#: The longest that a presentation may be under way after its claim, at any provider.
LONGEST_UNDER_WAY: Final = ROOMY.lease + ROOMY.settling


def needed_window(timing: Timing) -> timedelta:
    """Return the shortest replay window in which a killed worker's presentation can be repeated in time.

    It may have been sent as late as a deadline before its lease's end, and settles from there.
    """
    return timing.lease + timing.settling + DISCOVERY + timing.deadline


def timing_of(facts: ProviderFacts) -> Timing:
    """Return the timing for a provider: tight only where a replay window asks for it."""
    window = facts.replay_window
    if isinstance(window, timedelta) and needed_window(TIGHT) <= window < needed_window(ROOMY):
        return TIGHT
    return ROOMY


def replay_of(facts: ProviderFacts) -> Replay:
    """Say what may be done after an unanswered presentation.

    A window too short for lease, settling and deadline together counts as none, and unknown rotation
    (`optional` without a window) is treated like single use: being wrong there kills a living grant.
    """
    if facts.grant is not GrantKind.REFRESH_TOKEN or facts.rotation is Rotation.NONE:
        return Replay.FREELY
    window = facts.replay_window
    if isinstance(window, str):
        return Replay.FREELY
    if window is not None and window >= needed_window(timing_of(facts)):
        return Replay.WITHIN_WINDOW
    return Replay.LAST_RESORT
