"""Capacity: do workers keep up with what becomes due, when does a token expire for it, and what would help.

Late is not short: after a restart much is late, and gets less by itself. Short is who is late and does not
catch up in time. Pure functions; every instant is Postgres' clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

#: Fewer overdue tokens than this are never a matter of capacity.
LEAST_OVERDUE: Final = 20
#: The oldest overdue token must have waited this long, or half the reserve of tokens that have less.
LATE: Final = timedelta(seconds=20)
#: Once the oldest has waited no longer than this, or a quarter of the reserve, nothing is late any more.
ON_TIME: Final = timedelta(seconds=10)
#: A backlog that is gone within this time is a restart's, or a burst's.
DRAINS_WITHIN: Final = timedelta(minutes=10)
#: Shortage is told when it was seen at every reading for this long, and at so many at least …
TOLD_AFTER: Final = timedelta(seconds=60)
LEAST_READINGS: Final = 3
#: … and is over when nothing was late at any reading for this long.
OVER_AFTER: Final = timedelta(seconds=30)
#: What was seen longer ago than this says nothing about the time between.
LONGEST_GAP: Final = timedelta(minutes=5)
#: Expiry that is further away than this need not wake anybody.
EXPIRES_SOON: Final = timedelta(hours=2)
#: Load at which tokens are refreshed on time; more workers are reckoned to bring it down to this.
USABLE: Final = 0.8
#: Workers that do less than one in so many of what they should are kept from it, and more would be as well.
HARDLY: Final = 20
#: A provider that gets this part of its own request rate is bounded by the rate, and not by workers.
PACED: Final = 0.5


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
        return self.most_per_second is not None and self.done_per_second >= PACED * self.most_per_second

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
class Load:
    """How one kind of bulk work stands at an instant: as `Share`, over all providers that may be called.

    Attributes:
        first_expires_in: As `Share`, of whichever provider's comes first.
        workers: Worker processes that are seen at work; None: not known.
        worst: The provider that has nearly all that is overdue, while others have work too; None: none has.
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
    worst: str | None = None

    @property
    def surplus(self) -> float:
        """By how much the overdue get less each second; negative: by how much they get more."""
        return self.done_per_second - self.due_per_second

    @property
    def drained_in(self) -> timedelta | None:
        """In what time nothing is overdue at this pace; None: never."""
        if self.overdue == 0:
            return timedelta(0)
        return _seconds(self.overdue / self.surplus) if self.surplus > 0 else None

    @property
    def catches_up(self) -> bool:
        """Whether nothing is overdue any more within `DRAINS_WITHIN`."""
        drained_in = self.drained_in
        return drained_in is not None and drained_in <= DRAINS_WITHIN

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
    counted: int, *, most: int, oldest: datetime | None, newest: datetime | None, now: datetime
) -> int:
    """Return how many are overdue, where counting stopped at `most`: as many as lie as densely up to now.

    Args:
        oldest, newest: When the first and the last of the counted were due; None: nothing was counted.
    """
    if counted < most or oldest is None or newest is None or newest <= oldest:
        return counted
    return max(counted, round(counted * ((now - oldest) / (newest - oldest))))


def total(at: datetime, shares: Sequence[Share], *, workers: int | None = None) -> Load:
    """Add up what all providers need of the workers; those bounded by their own rate need nothing."""
    counted = [share for share in shares if not share.paced]
    overdue = sum(share.overdue for share in counted)
    waiting = [share for share in counted if share.overdue]
    # Whoever waits is who may expire; where nobody waits, it is what may come to wait.
    reserves = [share.reserve for share in waiting or counted if share.reserve is not None]
    return Load(
        at=at,
        due_per_second=sum(share.due_per_second for share in counted),
        done_per_second=sum(share.done_per_second for share in counted),
        overdue=overdue,
        exact=all(share.exact for share in counted),
        lateness=max((share.lateness for share in waiting), default=timedelta(0)),
        expired=sum(share.expired for share in waiting),
        reserve=min(reserves, default=None),
        first_expires_in=min(
            (first for share in waiting if (first := share.first_expires_in) is not None), default=None
        ),
        workers=workers,
        worst=_worst(counted, overdue),
    )


def _worst(shares: Sequence[Share], overdue: int) -> str | None:
    largest = max(shares, key=lambda share: share.overdue, default=None)
    if largest is None or overdue == 0 or largest.overdue < 0.8 * overdue:
        return None
    others = sum(share.done_per_second for share in shares if share is not largest)
    # With nearly all of the work it has nearly all of the backlog as well: that says nothing.
    return largest.provider_id if others >= largest.done_per_second else None


def standing(load: Load) -> Standing:
    """Judge one reading."""
    if load.overdue < LEAST_OVERDUE or load.lateness <= _at_most(ON_TIME, load.reserve, 4):
        return Standing.ON_TIME
    if load.lateness < _at_most(LATE, load.reserve, 2) or load.catches_up:
        return Standing.CATCHING_UP
    return Standing.SHORT


def _at_most(duration: timedelta, reserve: timedelta | None, part: int) -> timedelta:
    return duration if reserve is None else min(duration, reserve / part)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process has seen so far. None: never, or not at the last reading."""

    last_at: datetime | None = None
    short_since: datetime | None = None
    short_readings: int = 0
    on_time_since: datetime | None = None

    def then(self, found: Standing, *, now: datetime) -> Seen:
        """Return what is known after one more reading."""
        known = self
        if self.last_at is not None and now - self.last_at > LONGEST_GAP:
            known = Seen()
        known = replace(known, last_at=now)
        match found:
            case Standing.SHORT:
                since = known.short_since or now
                return replace(
                    known, short_since=since, short_readings=known.short_readings + 1, on_time_since=None
                )
            case Standing.ON_TIME:
                since = known.on_time_since or now
                return replace(known, short_since=None, short_readings=0, on_time_since=since)
            case Standing.CATCHING_UP:
                return Seen(last_at=now)

    @property
    def is_short(self) -> bool:
        """Whether shortage has lasted long enough to be told."""
        if self.short_since is None or self.last_at is None or self.short_readings < LEAST_READINGS:
            return False
        return self.last_at - self.short_since >= TOLD_AFTER

    @property
    def is_over(self) -> bool:
        """Whether nothing has been late for long enough to call a shortage over."""
        if self.on_time_since is None or self.last_at is None:
            return False
        return self.last_at - self.on_time_since >= OVER_AFTER


def _seconds(seconds: float) -> timedelta:
    # Longer than this is never; and a timedelta ends at 10^9 days.
    return timedelta(seconds=min(seconds, 10.0**9))
