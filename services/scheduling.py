"""The scheduler: mark what is due in Postgres, and hand it to the queue, a few seconds of work at a time.

The order is decided in Postgres and not by a long queue: a bulk queue holds only what the workers will take
within seconds. Nothing here is a promise; the mark runs out, and whatever was lost is enqueued again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal, Protocol

import structlog

from services.admission import Admission
from services.crowding import Crowding
from services.providers import ProviderDesk, ReadyProvider
from services.restore import RestoreGuard
from services.scopes import Scope
from storage.holds import Hold
from storage.tokens.due import DueToken
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A published token is not published again within this time. Longer than a message ever waits in a bulk
#: queue, short enough that a flushed Redis delays nobody beyond his reserve.
MARK: Final = timedelta(seconds=30)
#: One statement marks, and one pipeline publishes, at most this many.
BATCH: Final = 500
#: A bulk queue may always hold this many, whatever the measured drain rate says.
LEAST_CAPACITY: Final = 200
MOST_CAPACITY: Final = 5000
#: Weight of the newest sample in the drain rate.
_NEWEST: Final = 0.5
#: Ticks closer together than this are one tick: two beats, or a queue of ticks that had nobody to read it.
#: Merging them here needs no expiry of messages, which a worker's skewed clock would turn into a standstill.
_SHORTEST_GAP: Final = 0.4
#: Ticks further apart than this say nothing about the drain rate, and earn a provider no extra requests.
_LONGEST_GAP: Final = 5.0


#: (provider, tenant) that is held back -> how many of its tokens may be published all the same.
_Tenants = dict[tuple[str, str | None], int]


class Work(StrEnum):
    """The two kinds of bulk work, by the name of their queue."""

    REFRESH = "refresh"
    HEALTH = "health"


#: What the token store calls the two kinds of work.
_STORED_AS: Final[dict[Work, Literal["refresh", "check"]]] = {Work.REFRESH: "refresh", Work.HEALTH: "check"}


class Outbound(Protocol):
    """The bulk queue of one kind of work."""

    def depth(self) -> int:
        """Return how many messages wait."""

    def publish(self, due: Sequence[DueToken]) -> None:
        """Publish one message per token; raises when the broker did not take them."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did. `room` is what the queue could have taken."""

    work: Work
    depth: int
    room: int
    published: int


@dataclass(slots=True)
class _Drain:
    """The measured rate at which the workers empty one queue."""

    sampled_at: float
    depth: int
    published: int = 0
    per_second: float = 0.0


class Scheduler:
    """One per process; thread-safe. Any number of them may tick at once: marks are taken with SKIP LOCKED."""

    def __init__(
        self,
        tokens: TokenStore,
        desk: ProviderDesk,
        admission: Admission,
        guard: RestoreGuard,
        crowding: Crowding,
        *,
        queue_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._desk = desk
        self._admission = admission
        self._guard = guard
        self._crowding = crowding
        self._queue_seconds = queue_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._drains: dict[Work, _Drain] = {}
        self._ticked_at: dict[Work, float] = {}

    def tick(self, work: Work, outbound: Outbound) -> Tick:
        """Publish the most urgent due tokens until the queue holds a few seconds of work.

        Raises:
            ServiceUnavailable: Postgres is away; nothing was published that is not marked.
        """
        if self._ticked_just_now(work):
            return Tick(work, 0, 0, 0)
        depth = outbound.depth()
        elapsed, capacity = self._capacity(work, depth)
        room = max(0, capacity - depth)
        published = 0
        limits, tenants = self._limits(work, room, elapsed)
        while (limits or any(tenants.values())) and published < room:
            due = self._mark(work, limits, tenants, min(BATCH, room - published))
            if not due:
                break
            self._publish(work, outbound, due)
            published += len(due)
            limits, tenants = _less(limits, tenants, due)
        with self._lock:
            self._drains[work].published += published
        if published:
            log.info("tick", work=str(work), depth=depth, room=room, published=published)
        return Tick(work, depth, room, published)

    def _ticked_just_now(self, work: Work) -> bool:
        now = self._clock()
        with self._lock:
            last = self._ticked_at.get(work, -math.inf)
            if now - last < _SHORTEST_GAP:
                return True
            self._ticked_at[work] = now
        return False

    def _capacity(self, work: Work, depth: int) -> tuple[float, int]:
        """Return the seconds since the last tick, and how deep the queue may be by what was drained since."""
        now = self._clock()
        with self._lock:
            drain = self._drains.get(work)
            if drain is None:
                self._drains[work] = _Drain(now, depth)
                return 1.0, LEAST_CAPACITY
            elapsed = now - drain.sampled_at
            if 0 < elapsed <= _LONGEST_GAP:
                drained = max(0, drain.depth + drain.published - depth) / elapsed
                drain.per_second += _NEWEST * (drained - drain.per_second)
            drain.sampled_at, drain.depth, drain.published = now, depth, 0
            wanted = int(drain.per_second * self._queue_seconds)
        return min(elapsed, _LONGEST_GAP), min(MOST_CAPACITY, max(LEAST_CAPACITY, wanted))

    def _limits(self, work: Work, room: int, elapsed: float) -> tuple[dict[str, int], _Tenants]:
        """Return how many tokens of each provider may be published now, and of each tenant that is held back.

        Whoever is held back gets none, and one message when the probe is due: the probe.
        """
        held = self._admission.held()
        crowded = self._crowding.crowded()
        limits: dict[str, int] = {}
        tenants: _Tenants = {}
        for provider in self._desk.callable_providers():
            if work is Work.REFRESH and self._guard.withholds(provider.facts):
                continue
            scope = _scope(work, provider)
            hold = held.get(scope.key)
            if provider.has_tenants:
                tenants |= _held_tenants(provider, scope, held)
                hold = None if scope.whole is None else held.get(scope.whole)
            # Nobody gets all the room, or the backlog of a slow provider, which is always the longest due,
            # would keep the others out.
            most = max(1, room // 2) if hold is None else _probes(hold)
            # Nor more than the workers have slots for: the rest would only be turned away.
            most = self._crowding.published_at_most(scope, crowded, most) if most else 0
            if scope.max_per_second is not None:
                most = min(most, math.ceil(scope.max_per_second * elapsed))
            if most > 0:
                limits[provider.definition.id] = most
        return limits, tenants

    def _mark(self, work: Work, limits: dict[str, int], tenants: _Tenants, total: int) -> list[DueToken]:
        mark = self._tokens.mark_due_refreshes if work is Work.REFRESH else self._tokens.mark_due_checks
        return mark(limits, total=total, mark=MARK, held=tenants)

    def _publish(self, work: Work, outbound: Outbound, due: list[DueToken]) -> None:
        try:
            outbound.publish(due)
        except Exception:
            # Whatever the broker's trouble is, what it took is unknown: a message too many is harmless,
            # a token that waits for its mark to run out is not.
            self._tokens.unmark([token.connection_id for token in due], _STORED_AS[work])
            raise


def _scope(work: Work, provider: ReadyProvider) -> Scope:
    return provider.scope if work is Work.REFRESH else provider.check_scope


def _probes(hold: Hold) -> int:
    return 0 if hold.held_until > hold.now else 1


def _held_tenants(provider: ReadyProvider, scope: Scope, held: Mapping[str, Hold]) -> _Tenants:
    """Return the provider's tenants that are held back, the grants of no tenant among them."""
    provider_id = provider.definition.id
    found: _Tenants = {}
    for key, hold in held.items():
        tenant = scope.tenant_of(key)
        if key == scope.key or tenant is not None:
            found[provider_id, tenant] = _probes(hold)
    return found


def _less(limits: dict[str, int], tenants: _Tenants, due: list[DueToken]) -> tuple[dict[str, int], _Tenants]:
    left, left_to_tenants = dict(limits), dict(tenants)
    for token in due:
        if (token.provider_id, token.tenant) in left_to_tenants:
            left_to_tenants[token.provider_id, token.tenant] -= 1
        else:
            left[token.provider_id] -= 1
    return {provider_id: room for provider_id, room in left.items() if room > 0}, left_to_tenants
