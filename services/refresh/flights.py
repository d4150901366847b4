"""What this process has under way, and up to when everything that it presented is settled.

The register of processes tells the others. Postgres' clock is the only one they share, so instants of ours
are placed on it by the times that the reports themselves brought back: a presentation that began after such a
time was received was stamped later than it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

#: Reports remembered. A presentation older than all of them holds the settled time where the oldest stands.
_SAMPLES: Final = 256


class Flights:
    """One per process; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0
        self._under_way: dict[int, float] = {}
        #: Attempt → when its flight began: received, staged, and not landed as far as we know.
        self._staged: dict[UUID, float] = {}
        self._unsafe = 0
        self._ever_unsafe = 0
        self._on_unsafe: Callable[[bool], None] = lambda _unsafe: None
        #: (Our clock when a time of Postgres' had been received, that time), the oldest first.
        self._samples: deque[tuple[float, datetime]] = deque(maxlen=_SAMPLES)
        self._settled: datetime | None = None

    @contextmanager
    def flight(self) -> Iterator[int]:
        """Be under way while the block runs; it begins before the claim and ends when its row is settled.

        Yields:
            The flight, for `staged`.
        """
        with self._lock:
            self._next += 1
            flight = self._next
            self._under_way[flight] = self._clock()
        try:
            yield flight
        finally:
            with self._lock:
                self._under_way.pop(flight, None)

    def staged(self, flight: int, attempt_id: UUID) -> None:
        """Tell that the flight's answer lies staged: it stays unsettled when the flight ends."""
        with self._lock:
            self._staged[attempt_id] = self._under_way.get(flight, self._clock())

    def still_staged(self, lying: Callable[[], frozenset[UUID]]) -> int:
        """Forget the staged answers that do not lie there any more; returns how many are left.

        Args:
            lying: Looks which attempts' answers lie in the spool. Called after ours have been noted, so that
                one that is being staged at this moment is not taken for landed.
        """
        with self._lock:
            noted = list(self._staged)
        found = lying() if noted else frozenset()
        with self._lock:
            for attempt_id in noted:
                if attempt_id not in found:
                    self._staged.pop(attempt_id, None)
            return len(self._staged)

    @property
    def staged_now(self) -> int:
        """Answers of ours that lay staged when somebody last looked."""
        return len(self._staged)

    @contextmanager
    def unsafe(self) -> Iterator[None]:
        """Hold an answer in memory alone while the block runs."""
        with self._lock:
            self._unsafe += 1
            self._ever_unsafe += 1
            self._on_unsafe(True)
        try:
            yield
        finally:
            with self._lock:
                self._unsafe -= 1
                self._on_unsafe(self._unsafe > 0)

    def watch_unsafe(self, tell: Callable[[bool], None]) -> None:
        """Be told at once whether memory alone holds answers; the sweeper may be waiting for Postgres.

        Args:
            tell: Never raises, and takes no time.
        """
        self._on_unsafe = tell

    @property
    def under_way(self) -> int:
        """Presentations that are not settled yet, staged ones aside."""
        return len(self._under_way)

    @property
    def unsafe_now(self) -> int:
        """Answers that only this process' memory holds."""
        return self._unsafe

    @property
    def ever_unsafe(self) -> int:
        """How many there have been since the start."""
        return self._ever_unsafe

    def note_time(self, postgres_time: datetime) -> None:
        """Take in a time of Postgres' clock that has just been received."""
        with self._lock:
            self._samples.append((self._clock(), postgres_time))

    def settled_until(self) -> datetime | None:
        """Return before which instant every presentation of ours is settled; None before the first report."""
        with self._lock:
            if not self._samples:
                return None
            earliest = min((*self._under_way.values(), *self._staged.values()), default=self._clock())
            # The latest time that we had received before the earliest of them began, or where it stood when
            # that one was last remembered.
            before = [moment for received, moment in self._samples if received <= earliest]
            if before:
                self._settled = before[-1]
            if self._settled is not None:
                # What came later tells of a clock that was put back meanwhile: by it, they began only then.
                began = [
                    moment - timedelta(seconds=received - earliest)
                    for received, moment in self._samples
                    if received > earliest
                ]
                self._settled = min(self._settled, *began) if began else self._settled
            return self._settled
