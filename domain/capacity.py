"""Capacity: do workers keep up with what becomes due, when does a token expire for it, and what would help.

Late is not short: after a restart much is late, and gets less by itself. Short is who is late and does not
catch up in time. Pure functions; every instant is Postgres' clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

#: Fewer overdue tokens than this are no matter of capacity, unless nobody works at all …
LEAST_OVERDUE: Final = 20
#: … and the oldest has waited this long, or half the reserve of tokens that have less.
DESERTED: Final = timedelta(minutes=2)
#: The oldest overdue token must have waited this long, or half the reserve of tokens that have less.
LATE: Final = timedelta(seconds=20)
#: Once the oldest has waited no longer than this, or a quarter of the reserve, nothing is late any more.
ON_TIME: Final = timedelta(seconds=10)
#: A backlog that is gone within this time is a restart's, or a burst's.
DRAINS_WITHIN: Final = timedelta(minutes=10)
#: Expiry that is further away than this need not wake anybody.
EXPIRES_SOON: Final = timedelta(hours=2)
#: Load at which tokens are refreshed on time; more workers are reckoned to bring it down to this.
USABLE: Final = 0.8
#: Workers that do less than one in so many of what they should are kept from it, and more would be as well.
HARDLY: Final = 20
#: A provider that gets this part of its own request rate is bounded by the rate, and not by workers. A
#: sliding window that gets its requests in heaps lets through half of its rate at the worst.
PACED: Final = 0.5
#: Of a rate that allows fewer requests than this in the time that is looked back on, nothing can be seen.
_FEW: Final = 5
#: How far back `done_per_second` reaches.
LOOKED_BACK: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Share:
    """How one provider's part of a kind of bulk work stands.

    Attributes:
        most_per_second: The rate that its definition allows; None: unbounded.
        due_per_second: What becomes due in the coming minute.
        done_per_second: Attempts of it that ended lately, whatever they came to.
        overdue: What is due and nobody works on.
        exact: False: `overdue` is an estimate.
        lateness: How long the oldest of them has been due.
        expired: How many of those that were counted have expired.
        reserve: From a token's due time to its expiry, of the shortest twentieth; None: nothing expires.
    """

    provider_id: str
    due_per_second: float
    done_per_second: float
    overdue: int = 0
    exact: bool = True
    lateness: timedelta = timedelta(0)
    expired: int = 0
    reserve: timedelta | None = None
    most_per_second: float | None = None

    @property
    def paced(self) -> bool:
        """Whether it gets what its own rate allows, so that no worker could do more for it."""
        if self.most_per_second is None:
            return False
        return self.few or self.done_per_second >= PACED * self.most_per_second

    @property
    def few(self) -> bool:
        """Whether its rate allows so few requests that nothing can be seen of them."""
        most = self.most_per_second
        return most is not None and most * LOOKED_BACK.total_seconds() < _FEW

    @property
    def late(self) -> bool:
        """Whether the oldest has waited longer than what is on time waits."""
        return self.overdue > 0 and self.lateness > _at_most(ON_TIME, self.reserve, 4)

    @property
    def first_expires_in(self) -> timedelta | None:
        """When the first token expires at this pace, before its turn has come; zero: now. None: none does.

        What is served next is what has waited longest. How fast that wait grows follows from how densely the
        overdue lie in time, and how fast they are done.
        """
        if self.reserve is None or self.overdue == 0:
            return None
        if self.expired or self.lateness >= self.reserve:
            return timedelta(0)
        seconds = self.lateness.total_seconds()
        density = max(self.due_per_second, self.overdue / seconds if seconds > 0 else 0.0)
        growth = 1 - self.done_per_second / density if density > 0 else 0.0
        if growth <= 0:
            return None
        first = (self.reserve.total_seconds() - seconds) / growth
        surplus = self.done_per_second - self.due_per_second
        # What is drained before it is a burst that lies too densely, and not a wait that grows for ever.
        return None if surplus > 0 and self.overdue / surplus <= first else _seconds(first)


@dataclass(frozen=True, slots=True)
class Behind:
    """What the providers have together whose tokens are late: the others' work hides nothing of theirs."""

    due_per_second: float = 0.0
    done_per_second: float = 0.0
    overdue: int = 0
    exact: bool = True

    @property
    def drained_in(self) -> timedelta | None:
        """In what time nothing of it is overdue at this pace; None: never."""
        return _drained_in(self.overdue, self.done_per_second - self.due_per_second)


@dataclass(frozen=True, slots=True)
class Load:
    """How one kind of bulk work stands at an instant: as `Share`, over all providers that may be called.

    Attributes:
        first_expires_in: As `Share`, of whichever provider's comes first.
        workers: Worker processes that are seen at work; None: not known.
        behind: Its part that is late.
        worst: The provider that has nearly all of that, while others have work too; None: none has.
    """

    at: datetime
    due_per_second: float
    done_per_second: float
    overdue: int
    exact: bool
    lateness: timedelta
    expired: int
    reserve: timedelta | None
    first_expires_in: timedelta | None = None
    workers: int | None = None
    behind: Behind = Behind()
    worst: str | None = None

    @property
    def surplus(self) -> float:
        """By how much the overdue get less each second; negative: by how much they get more."""
        return self.done_per_second - self.due_per_second

    @property
    def drained_in(self) -> timedelta | None:
        """In what time nothing is overdue at this pace; None: never."""
        return _drained_in(self.overdue, self.surplus)

    @property
    def catches_up(self) -> bool:
        """Whether nothing of what is late is overdue any more within `DRAINS_WITHIN`."""
        drained_in = self.behind.drained_in
        return drained_in is not None and drained_in <= DRAINS_WITHIN

    @property
    def deserted(self) -> bool:
        """Whether something waits for long, and nobody is seen to do anything."""
        waits = self.overdue > 0 and self.lateness >= _at_most(DESERTED, self.reserve, 2)
        return waits and self.done_per_second == 0 and self.workers is None

    @property
    def expires_soon(self) -> bool:
        """Whether tokens expire for it, now or within `EXPIRES_SOON`."""
        first = self.first_expires_in
        return first is not None and first <= EXPIRES_SOON

    @property
    def done_by_each(self) -> float | None:
        """What one worker process does a second; None: not known."""
        return self.done_per_second / self.workers if self.workers else None

    @property
    def workers_missing(self) -> int | None:
        """How many more worker processes keep up, and are rid of the overdue in time.

        None: not known, because no worker is seen, or those that are seen hardly do anything.
        """
        wanted = max(
            self.due_per_second / USABLE,
            self.due_per_second + self.overdue / DRAINS_WITHIN.total_seconds(),
        )
        if not self.workers or self.done_per_second * HARDLY < wanted or not self.done_per_second:
            return None
        return max(1, math.ceil(self.workers * wanted / self.done_per_second) - self.workers)


class Standing(StrEnum):
    """How a load is judged by one reading."""

    #: Nothing is late.
    ON_TIME = "on_time"
    #: Something is late, and either not by much or not for long.
    CATCHING_UP = "catching_up"
    #: Much is late and gets more, or does not get less in time.
    SHORT = "short"


def extrapolated(
    counted: int, *, exact: bool, oldest: datetime | None, newest: datetime | None, now: datetime
) -> int:
    """Return how many are overdue, where counting stopped early: as many as lie as densely up to now.

    Args:
        exact: It did not stop.
        oldest, newest: When the first and the last of the counted were due; None: nothing was counted.
    """
    if exact or oldest is None or newest is None or newest <= oldest:
        return counted
    return max(counted, round(counted * ((now - oldest) / (newest - oldest))))


def total(at: datetime, shares: Sequence[Share], *, workers: int | None = None) -> Load:
    """Add up what all providers need of the workers; those bounded by their own rate need nothing."""
    counted = [share for share in shares if not share.paced]
    late = [share for share in counted if share.late]
    behind = Behind(
        due_per_second=sum(share.due_per_second for share in late),
        done_per_second=sum(share.done_per_second for share in late),
        overdue=sum(share.overdue for share in late),
        exact=all(share.exact for share in late),
    )
    waiting = [share for share in counted if share.overdue]
    # Whoever waits is who may expire; where nobody waits, it is what may come to wait.
    reserves = [share.reserve for share in waiting or counted if share.reserve is not None]
    return Load(
        at=at,
        due_per_second=sum(share.due_per_second for share in counted),
        done_per_second=sum(share.done_per_second for share in counted),
        overdue=sum(share.overdue for share in counted),
        exact=all(share.exact for share in counted),
        lateness=max((share.lateness for share in waiting), default=timedelta(0)),
        expired=sum(share.expired for share in waiting),
        reserve=min(reserves, default=None),
        first_expires_in=min(
            (first for share in waiting if (first := share.first_expires_in) is not None), default=None
        ),
        workers=workers,
        behind=behind,
        worst=_worst(counted, late),
    )


def _worst(shares: Sequence[Share], late: Sequence[Share]) -> str | None:
    largest = max(late, key=lambda share: share.overdue, default=None)
    if largest is None or largest.overdue < 0.8 * sum(share.overdue for share in late):
        return None
    others = sum(share.done_per_second for share in shares if share is not largest)
    # With nearly all of the work it has nearly all of the backlog as well: that says nothing.
    return largest.provider_id if others and others >= largest.done_per_second else None


def standing(load: Load) -> Standing:
    """Judge one reading."""
    if load.deserted:
        return Standing.SHORT
    if load.behind.overdue < LEAST_OVERDUE:
        return Standing.ON_TIME
    if load.lateness < _at_most(LATE, load.reserve, 2) or load.catches_up:
        return Standing.CATCHING_UP
    return Standing.SHORT


def _at_most(duration: timedelta, reserve: timedelta | None, part: int) -> timedelta:
    return duration if reserve is None else min(duration, reserve / part)


def _drained_in(overdue: int, surplus: float) -> timedelta | None:
    if overdue == 0:
        return timedelta(0)
    return _seconds(overdue / surplus) if surplus > 0 else None


def _seconds(seconds: float) -> timedelta:
    # Longer than this is never; and a timedelta ends at 10^9 days.
    return timedelta(seconds=min(seconds, 10.0**9))
