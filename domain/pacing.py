"""Whether a provider's own request rate is enough for its connections: workers could do no more for it.

Pure; every instant is Postgres' clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from domain.capacity import LATE, LEAST_OVERDUE, USABLE, Load, Share, Standing, total

_HALF: Final = 2


def paced_load(at: datetime, share: Share) -> Load:
    """Return how a provider stands with what its rate gives it.

    Of a rate too low for anything to be seen in a minute, it is taken to get all of that.
    """
    done = share.done_per_second
    if share.few and share.most_per_second is not None:
        done = max(done, share.most_per_second)
    return total(at, [replace(share, done_per_second=done, most_per_second=None)])


def paced_standing(share: Share, load: Load) -> Standing:
    """Judge one reading of a provider that is bounded by its own rate.

    A backlog that takes its time is what a rate is for: short is only what grows, or expires before its turn
    has come. What becomes due a minute says nothing where that is less than one; there it counts what has
    expired.
    """
    if not share.paced or load.overdue == 0:
        return Standing.ON_TIME
    late = LATE if load.reserve is None else min(LATE, load.reserve / _HALF)
    if share.few:
        return Standing.SHORT if load.expired and load.lateness >= late else Standing.ON_TIME
    if load.overdue < LEAST_OVERDUE:
        return Standing.ON_TIME
    if load.lateness < late or (load.surplus > 0 and load.first_expires_in is None):
        return Standing.CATCHING_UP
    return Standing.SHORT


def rate_wanted(load: Load) -> float:
    """Return the rate a second at which the provider's tokens are refreshed on time."""
    return load.due_per_second / USABLE
