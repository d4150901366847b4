"""The one clock of the model: Postgres'. Workers see it through the store and by their monotonic clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

BEGINNING: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """Time stands still between the moves and passes when a move says so."""

    now: datetime = BEGINNING

    def __call__(self) -> datetime:
        return self.now

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return (self.now - BEGINNING) / timedelta(seconds=1)
