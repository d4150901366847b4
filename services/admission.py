"""Admission: may this process call this provider now? Asked before a token's row is touched.

Three gates, cheapest first: the breaker (`services.breakers`), the provider's share of this process
(`services.slots`), and its request rate (shared through Redis, or kept per process while Redis is away).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from services.breakers import Breakers
from services.scopes import Scope
from services.slots import Slots
from storage.holds import Hold

#: `Denied.code` where the provider has its share of this process' threads.
CONCURRENCY: Final = "concurrency"


class RateLimiter(Protocol):
    """A request rate shared by all workers."""

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request; False when the rate is used up for the moment."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Not now: why, and when to try again (None: in a moment)."""

    code: str
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """Go ahead; the slot is held until the `with` block ends."""


class Admission:
    """One per process; thread-safe."""

    def __init__(self, breakers: Breakers, limiter: RateLimiter, slots: Slots) -> None:
        self.breakers = breakers
        self._limiter = limiter
        self.slots = slots

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Admitted | Denied]:
        """Ask all gates and hold a slot meanwhile."""
        stopping = self.breakers.stopping(scope)
        if stopping is not None:
            yield Denied(stopping.reason, stopping.held_until)
            return
        slot = self.slots.take(scope.pace, scope.max_concurrency)
        if slot is None:
            yield Denied(CONCURRENCY)
            return
        gate: Admitted | Denied | None = None
        try:
            # The probe last: who takes it must be free to use it.
            gate = self._rate(scope) or self._probe(scope) or Admitted()
            yield gate
        finally:
            try:
                self.breakers.give_back(scope)
            finally:
                self.slots.give_back(scope.pace, slot, called=isinstance(gate, Admitted))

    def held(self) -> dict[str, Hold]:
        """Return the open breakers by scope; as `Breakers.held`."""
        return self.breakers.held()

    def _probe(self, scope: Scope) -> Denied | None:
        taken_by_another = self.breakers.probe(scope)
        return None if taken_by_another is None else Denied(taken_by_another.reason)

    def _rate(self, scope: Scope) -> Denied | None:
        if scope.max_per_second is None or self._limiter.take(scope.pace, scope.max_per_second):
            return None
        return Denied("rate")
