"""Whether shortage of capacity has lasted long enough to be told, or has been over for long enough.

Pure; every instant is Postgres' clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from domain.capacity import Standing

#: Shortage is told when it was seen at every reading for this long, and at so many at least …
TOLD_AFTER: Final = timedelta(seconds=60)
LEAST_READINGS: Final = 3
#: … and is over when nothing was late at any reading for this long.
OVER_AFTER: Final = timedelta(seconds=30)
#: What was seen longer ago than this says nothing about the time between.
LONGEST_GAP: Final = timedelta(minutes=5)
#: What was seen at a later instant than now was seen before the clock was set back, if by more than this; by
#: less, two looks at once came in the other order.
_SET_BACK: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process has seen so far. None: never, or not at the last reading."""

    last_at: datetime | None = None
    short_since: datetime | None = None
    short_readings: int = 0
    on_time_since: datetime | None = None

    def then(self, found: Standing, *, now: datetime) -> Seen:
        """Return what is known after one more reading; a little older than the last, it tells nothing.

        After a gap, or where the clock was set back, everything begins anew.
        """
        known = self
        if self.last_at is not None and now <= self.last_at and self.last_at - now <= _SET_BACK:
            return self
        if self.last_at is not None and not timedelta(0) < now - self.last_at <= LONGEST_GAP:
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
