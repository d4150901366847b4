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
from services.scopes import Call, Scope
from storage.holds import Hold
from storage.tokens.due import DueToken
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A published token is not published again within this time. Longer than a message ever waits in a bulk
#: queue, short enough that a flushed Redis delays nobody beyond his reserve.
MARK: Final = timedelta(seconds=30)
#: One statement marks, and one pipeline publishes, at most this many.
BATCH: Final = 500
#: A bulk queue may always hold this many, whatever the workers' pace is.
LEAST_CAPACITY: Final = 200
MOST_CAPACITY: Final = 5000
#: A queue that has run dry is given so many times the work of the last seconds: workers would have done more.
DRY: Final = 2
#: Ticks closer together than this are one tick: two beats, or a queue of ticks that had nobody to read it.
#: Merging them here needs no expiry of messages, which a worker's skewed clock would turn into a standstill.
_SHORTEST_GAP: Final = 0.4
#: Ticks further apart than this earn a provider no extra requests.
_LONGEST_GAP: Final = 5.0


#: (provider, tenant) that is held back -> how many of its tokens may be published all the same.
_Tenants = dict[tuple[str, str | None], int]


class Work(StrEnum):
    """The two kinds of bulk work, by the name of their queue."""

    REFRESH = "refresh"
    HEALTH = "health"


#: What the token store calls the two kinds of work.
_STORED_AS: Final[dict[Work, Literal["refresh", "check"]]] = {Work.REFRESH: "refresh", Work.HEALTH: "check"}
_CALLED: Final = {Work.REFRESH: Call.TOKEN, Work.HEALTH: Call.CHECK}


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
        self._ticked_at: dict[Work, float] = {}

    def tick(self, work: Work, outbound: Outbound) -> Tick:
        """Publish the most urgent due tokens until the queue holds a few seconds of work.

        Raises:
            ServiceUnavailable: Postgres is away; nothing was published that is not marked.
        """
        elapsed = self._elapsed(work)
        if elapsed is None:
            return Tick(work, 0, 0, 0)
        depth = outbound.depth()
        room = max(0, self._capacity(work, depth) - depth)
        if room == 0:
            # Nothing is asked, so that what may be published to whom is not taken for what was.
            return Tick(work, depth, 0, 0)
        published = 0
        limits, tenants = self._limits(work, room, elapsed)
        while (limits or any(tenants.values())) and published < room:
            wanted = min(BATCH, room - published)
            due = self._mark(work, limits, tenants, wanted)
            if due:
                self._publish(work, outbound, due)
                published += len(due)
            if len(due) < wanted:
                # Nobody has more that is due and may be published: asking again would walk over all that is
                # marked now, to find nothing.
                break
            limits, tenants = _less(limits, tenants, due)
        if published:
            log.info("tick", work=str(work), depth=depth, room=room, published=published)
        return Tick(work, depth, room, published)

    def _elapsed(self, work: Work) -> float | None:
        """Return the seconds since the last tick, at most `_LONGEST_GAP`; None: it was just now."""
        now = self._clock()
        with self._lock:
            last = self._ticked_at.get(work)
            if last is not None and now - last < _SHORTEST_GAP:
                return None
            self._ticked_at[work] = now
        return 1.0 if last is None else min(now - last, _LONGEST_GAP)

    def _capacity(self, work: Work, depth: int) -> int:
        """Return how deep the queue may be by what the workers get done.

        The pace is read from the record, and not from how this process has seen the queue shrink: where
        several control workers share the ticks, each would miss what the others have published, take the
        workers for slow, and keep them so.
        """
        seconds = self._queue_seconds if depth else DRY * self._queue_seconds
        wanted = int(self._tokens.pace(_STORED_AS[work]) * seconds)
        return min(MOST_CAPACITY, max(LEAST_CAPACITY, wanted))

    def _limits(self, work: Work, room: int, elapsed: float) -> tuple[dict[str, int], _Tenants]:
        """Return how many tokens of each provider may be published now, and of each tenant that is held back.

        Whoever is held back gets none, and one message when the probe is due: the probe.
        """
        held = self._admission.held()
        crowded = self._crowding.crowded(_CALLED[work])
        limits: dict[str, int] = {}
        tenants: _Tenants = {}
        for provider in self._desk.callable_providers():
            if work is Work.REFRESH and self._guard.withholds(provider.facts):
                continue
            scope = _scope(work, provider)
            hold = held.get(scope.key)
            if provider.has_tenants:
                tenants |= held_tenants(provider, scope, held)
                hold = None if scope.whole is None else held.get(scope.whole)
            # Nobody gets all the room, or the backlog of a slow provider, which is always the longest due,
            # would keep the others out.
            most = max(1, room // 2) if hold is None else _probes(hold)
            # Nor more than the workers have slots for: the rest would only be turned away.
            most = self._crowding.published_at_most(scope, crowded, most) if most else 0
            if scope.max_per_second is not None:
                at_its_rate = math.ceil(scope.max_per_second * elapsed)
                most = min(most, at_its_rate + self._crowding.more(scope, crowded))
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


def held_tenants(
    provider: ReadyProvider, scope: Scope, held: Mapping[str, Hold]
) -> dict[tuple[str, str | None], int]:
    """Return the provider's tenants that are held back, and how many tokens of each may be published.

    The grants of no tenant are among them, as tenant None.
    """
    provider_id = provider.definition.id
    found: dict[tuple[str, str | None], int] = {}
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
