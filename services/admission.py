"""Admission: may this process call this provider now? Asked before a token's row is touched.

Three gates, cheapest first: the breaker (`services.breakers`), the provider's share of this process
(`services.slots`), and its request rate (shared through Redis, or kept per process while Redis is away).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from services.breakers import Breakers
from services.rates import LONGEST_WAIT
from services.scopes import Scope
from services.slots import Slots
from storage.holds import Hold

#: `Denied.code` where the provider has its share of this process' threads.
CONCURRENCY: Final = "concurrency"
#: `Denied.code` where the rate of one account is used up, and the provider's is not.
ACCOUNT_RATE: Final = "account_rate"


class RateLimiter(Protocol):
    """A request rate shared by all workers."""

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request; False when the rate is used up for the moment."""

    def has_room(self, scope: str, per_second: float) -> bool:
        """Say whether `take` would be granted now; counts nothing."""

    def turn(self, scope: str, per_second: float) -> timedelta:
        """Return how long it takes until it is the turn of one more who was refused, after those before."""


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

    def room_in(self, scope: Scope) -> timedelta:
        """Return about how long an account whose rate is used up has no room; stands in no line."""
        return min(timedelta(seconds=1 / (scope.max_per_second_of_account or 1.0)), LONGEST_WAIT)

    def turn(self, scope: Scope) -> timedelta:
        """Return how long to leave a token alone whose account's rate is used up; stands in line for it."""
        return self._limiter.turn(_account(scope), scope.max_per_second_of_account or 1.0)

    def held(self) -> dict[str, Hold]:
        """Return the open breakers by scope; as `Breakers.held`."""
        return self.breakers.held()

    def _probe(self, scope: Scope) -> Denied | None:
        taken_by_another = self.breakers.probe(scope)
        return None if taken_by_another is None else Denied(taken_by_another.reason)

    def _rate(self, scope: Scope) -> Denied | None:
        account = _account(scope)
        of_account = None if scope.account is None else scope.max_per_second_of_account
        # Looked at first: one busy account must not use up the rate that all have together.
        if of_account is not None and not self._limiter.has_room(account, of_account):
            return Denied(ACCOUNT_RATE)
        if scope.max_per_second is not None and not self._limiter.take(scope.pace, scope.max_per_second):
            return Denied("rate")
        if of_account is not None and not self._limiter.take(account, of_account):
            return Denied(ACCOUNT_RATE)
        return None


def _account(scope: Scope) -> str:
    return f"{scope.pace}|{scope.account}"
