"""Counting what happened since a moment, from the activity log, at the cost of what is new."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, Float, func, select

from storage.engine import autocommit, single
from storage.schema import activity

#: Lateness is told of this much of the past.
WINDOW: Final = timedelta(minutes=1)
_REFRESHED: Final = "refreshed"
_FAILED: Final = frozenset({"refresh_failed", "needs_reauth", "set_aside"})
_DOUBTED: Final = "in_doubt"
_CHECKED: Final = "checked"


@dataclass(frozen=True, slots=True)
class Reading:
    """Counts since the meter was made.

    Attributes:
        doubted: Presentations whose outcome was not known: timed out, cut, or their worker vanished.
        recovered: Doubts that a recovery attempt ended well.
        lateness_p50, lateness_p99: Answer minus planned time of due refreshes, in seconds, over the last
            minute; None where there was none.
    """

    refreshed: int
    failed: int
    doubted: int
    recovered: int
    checked: int
    lateness_p50: float | None
    lateness_p99: float | None


class ActivityMeter:
    """Reads the log from where it left off. Not thread-safe: one reader each."""

    def __init__(self, engine: Engine) -> None:
        self._auto = autocommit(engine)
        self._last_id: int | None = None
        self._counts: dict[str, int] = {}
        self._recovered = 0
        self._lateness: deque[tuple[datetime, float]] = deque()

    def read(self) -> Reading:
        """Count what has been added since the last call; the first call begins at the log's end.

        Lines of transactions that were still open at the last call may be missed: this is a display, the
        log itself is the truth.

        Raises:
            ServiceUnavailable: Postgres does not answer.
        """
        with single(self._auto) as connection:
            if self._last_id is None:
                self._last_id = connection.execute(select(func.max(activity.c.id))).scalar_one() or 0
            late = activity.c.detail["late_seconds"].astext.cast(Float)
            recovered = activity.c.detail.has_key("recovered")
            rows = connection.execute(
                select(activity.c.id, activity.c.at, activity.c.kind, late, recovered)
                .where(activity.c.id > self._last_id)
                .order_by(activity.c.id)
            ).all()
        for row_id, at, kind, seconds, ended_doubt in rows:
            self._last_id = row_id
            self._recovered += ended_doubt
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if seconds is not None:
                self._lateness.append((at, seconds))
        return self._reading(rows[-1].at if rows else None)

    def _reading(self, newest: datetime | None) -> Reading:
        if newest is not None:
            while self._lateness and self._lateness[0][0] < newest - WINDOW:
                self._lateness.popleft()
        late = sorted(seconds for _, seconds in self._lateness)
        return Reading(
            refreshed=self._counts.get(_REFRESHED, 0),
            failed=sum(self._counts.get(kind, 0) for kind in _FAILED),
            doubted=self._counts.get(_DOUBTED, 0),
            recovered=self._recovered,
            checked=self._counts.get(_CHECKED, 0),
            lateness_p50=_quantile(late, 0.5),
            lateness_p99=_quantile(late, 0.99),
        )


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
