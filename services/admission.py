"""Admission: may this process call this provider now? Asked before a token's row is touched.

Three gates, cheapest first: the breaker (shared by all workers through Postgres, cached for a second here),
the provider's share of this process, and its request rate (shared through Redis, or kept per process while
Redis is away).
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from domain.backoff import backoff
from domain.errors import ProviderError, ServiceUnavailable
from domain.policy import HoldReason
from services import alerts
from storage.alerts import AlertSpec
from storage.holds import Hold, HoldStore

log = structlog.get_logger(__name__)

#: How stale this process' picture of the breakers may be.
CACHE: Final = timedelta(seconds=1)
#: Failures in a row, in this process, that say "the provider is down" rather than "one call failed".
FAILURES_TO_OPEN: Final = 5
#: A probe that has not reported back within this time is taken for lost, and another one is let through.
PROBE: Final = timedelta(seconds=30)


class RateLimiter(Protocol):
    """A request rate shared by all workers."""

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request; False when the rate is used up for the moment."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a breaker and a rate belong to: one client id at one endpoint.

    Attributes:
        key: Names the scope to the other workers; holds no secret.
        max_concurrency: Calls this process may have under way; None: half of its threads.
        max_per_second: Calls all workers together may begin; None: unbounded.
    """

    key: str
    provider_id: str
    display_name: str
    max_concurrency: int | None = None
    max_per_second: float | None = None


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

    def __init__(
        self,
        holds: HoldStore,
        limiter: RateLimiter,
        *,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holds = holds
        self._limiter = limiter
        self._share = max(1, threads // 2)
        self._clock = clock
        self._lock = threading.Lock()
        self._in_use: defaultdict[str, int] = defaultdict(int)
        self._failures: defaultdict[str, int] = defaultdict(int)
        self._known: dict[str, Hold] = {}
        self._probing: set[str] = set()
        self._read_at = -math.inf

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Admitted | Denied]:
        """Ask all gates and hold a slot meanwhile."""
        denied = self._held_back(scope) or self._slot(scope)
        if denied is not None:
            yield denied
            return
        try:
            # The probe last: who takes it must be free to use it.
            yield self._rate(scope) or self._probe(scope) or Admitted()
        finally:
            with self._lock:
                self._in_use[scope.key] -= 1

    def held(self) -> dict[str, Hold]:
        """Return the open breakers by scope, at most `CACHE` old."""
        with self._lock:
            if self._clock() - self._read_at < CACHE.total_seconds():
                return self._known
            # Stamped before reading, so that a slow database is asked once and not by every thread.
            self._read_at = self._clock()
        known = {hold.scope: hold for hold in self._holds.holds()}
        with self._lock:
            self._known = known
        return known

    def tell_success(self, scope: Scope) -> None:
        """As `succeeded`; a breaker that cannot be written now is told again by the next success."""
        try:
            self.succeeded(scope)
        except ServiceUnavailable:
            log.warning("breaker_not_written", scope=scope.key)

    def tell_failure(
        self,
        scope: Scope,
        reason: HoldReason | None,
        error: ProviderError,
        *,
        retry_after: timedelta | None,
        now: datetime,
        jitter: float,
    ) -> None:
        """Tell what a failure said of the provider; `reason` None: it answered properly.

        Args:
            now: Postgres' clock.
        """
        try:
            if reason is None:
                self.succeeded(scope)
            else:
                self.failed(scope, reason, code=error.code, retry_after=retry_after, now=now, jitter=jitter)
        except ServiceUnavailable:
            log.warning("breaker_not_written", scope=scope.key)

    def succeeded(self, scope: Scope) -> None:
        """Tell that the provider answered properly: a breaker that was open closes."""
        with self._lock:
            self._failures[scope.key] = 0
            self._probing.discard(scope.key)
            known = scope.key in self._known
        if known and self._holds.close_hold(scope.key, cause=alerts.provider_cause(scope.key)):
            with self._lock:
                self._known = {key: hold for key, hold in self._known.items() if key != scope.key}
            log.info("provider_hold_closed", scope=scope.key, provider=scope.provider_id)

    def failed(
        self,
        scope: Scope,
        reason: HoldReason,
        *,
        code: str,
        retry_after: timedelta | None,
        now: datetime,
        jitter: float,
    ) -> None:
        """Tell what a failure said of the provider: it may open the breaker, or keep it open longer.

        Args:
            now: Postgres' clock.
        """
        with self._lock:
            self._failures[scope.key] += 1
            failures = self._failures[scope.key]
            hold = self._known.get(scope.key)
            probed = scope.key in self._probing
            self._probing.discard(scope.key)
        if hold is not None and hold.held_until > hold.now and not probed:
            # A call that was under way when the breaker opened says nothing that is not known.
            return
        certain = reason is HoldReason.CLIENT_MISCONFIGURED or retry_after is not None
        if not certain and hold is None and failures < FAILURES_TO_OPEN:
            return
        times = 1 if hold is None else hold.failures + 1
        wait = backoff(times, lifetime=timedelta(minutes=5), jitter=jitter, retry_after=retry_after)
        alert: AlertSpec | None = None
        if reason is not HoldReason.RATE_LIMITED:
            alert = alerts.provider_held(
                scope.provider_id, scope.display_name, reason, scope=scope.key, code=code
            )
        self._holds.open_hold(
            scope.key, provider_id=scope.provider_id, reason=str(reason), held_until=now + wait, alert=alert
        )
        with self._lock:
            self._read_at = -math.inf
        log.warning(
            "provider_held", scope=scope.key, provider=scope.provider_id, reason=str(reason), code=code,
            seconds=round(wait.total_seconds(), 1),
        )  # fmt: skip

    def _held_back(self, scope: Scope) -> Denied | None:
        hold = self.held().get(scope.key)
        if hold is None or hold.held_until <= hold.now:
            return None
        return Denied(hold.reason, hold.held_until)

    def _probe(self, scope: Scope) -> Denied | None:
        hold = self.held().get(scope.key)
        if hold is None:
            return None
        # Half open: whoever moves the hold forward first is the probe, the others stay away.
        taken = self._holds.take_probe(scope.key, expected=hold.held_until, until=hold.now + PROBE)
        with self._lock:
            self._read_at = -math.inf
            if taken:
                self._probing.add(scope.key)
        return None if taken else Denied(hold.reason)

    def _slot(self, scope: Scope) -> Denied | None:
        most = scope.max_concurrency or self._share
        with self._lock:
            if self._in_use[scope.key] >= most:
                return Denied("concurrency")
            self._in_use[scope.key] += 1
        return None

    def _rate(self, scope: Scope) -> Denied | None:
        if scope.max_per_second is None or self._limiter.take(scope.key, scope.max_per_second):
            return None
        return Denied("rate")
