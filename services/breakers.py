"""Breakers: calls to a scope that is in trouble are stopped, and one probe at a time finds out if it is over.

Shared by all workers through Postgres; this process' picture of them is a second old at most. A breaker stops
calls and touches no token.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from domain.backoff import backoff
from domain.errors import ProviderError, ServiceUnavailable
from domain.outage import FAILURES_TO_OPEN, RecentByScope
from domain.policy import HoldReason, hold_reason
from services import alerts
from services.scopes import Scope
from storage.alerts import AlertSpec
from storage.holds import Hold, HoldStore

log = structlog.get_logger(__name__)

#: How stale this process' picture of the breakers may be.
CACHE: Final = timedelta(seconds=1)
#: Tenants of one provider that fail with no success between, before it is taken for the trouble of all.
TENANTS_TO_OPEN: Final = 3
#: A provider that wants to be left alone for this long will let tokens expire; somebody should know.
LONG_SILENCE: Final = timedelta(minutes=5)
#: A probe that has not reported back within this time is taken for lost, and another one is let through.
PROBE: Final = timedelta(seconds=30)


class Breakers:
    """One per process; thread-safe."""

    def __init__(self, holds: HoldStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._holds = holds
        self._clock = clock
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._recent = RecentByScope()
        self._known: dict[str, Hold] = {}
        #: What all tenants share -> their failures since the last success, and whose they were.
        self._troubled: dict[str, tuple[int, frozenset[str | None]]] = {}
        #: Scope -> the thread whose call is the probe, and how long the others wait for it.
        self._probing: dict[str, tuple[int, datetime]] = {}
        #: When the breakers were read; minus infinity: they must be.
        self._read_at = -math.inf
        self._changes = 0

    def held(self) -> dict[str, Hold]:
        """Return the open breakers by scope, at most `CACHE` old, and never without one that we opened."""
        with self._lock:
            known, read_at = self._known, self._read_at
            if self._clock() - read_at < CACHE.total_seconds():
                return known
            if read_at > -math.inf:
                # Stamped before reading, so that a slow database is asked once and not by every thread.
                self._read_at = self._clock()
        if read_at > -math.inf:
            return self._read()
        # Nothing is known, or it is known to be wrong: everybody waits for the one who reads.
        with self._reading:
            with self._lock:
                if self._read_at > -math.inf:
                    return self._known
            return self._read()

    def _read(self) -> dict[str, Hold]:
        with self._lock:
            changes, began = self._changes, self._clock()
        known = {hold.scope: hold for hold in self._holds.holds()}
        with self._lock:
            if changes == self._changes:
                self._known, self._read_at = known, began
            return known

    def _forget(self) -> None:
        """Make the next look read the breakers anew: we have changed one. Called under the lock."""
        self._read_at = -math.inf
        self._changes += 1

    def tell_success(self, scope: Scope, *, called_at: datetime) -> None:
        """As `succeeded`; a breaker that cannot be written now is told again by the next success."""
        try:
            self.succeeded(scope, called_at=called_at)
            everybody = scope.everybody
            if everybody is not None:
                self.succeeded(everybody, called_at=called_at)
                with self._lock:
                    self._troubled.pop(everybody.key, None)
        except ServiceUnavailable:
            log.warning("breaker_not_written", scope=scope.key)

    def tell(
        self, scope: Scope, error: ProviderError | None, *, called_at: datetime, now: datetime, jitter: float
    ) -> None:
        """Tell what a call came to that presented no refresh token; `error` None: it succeeded."""
        if error is None:
            self.tell_success(scope, called_at=called_at)
            return
        self.tell_failure(
            scope, hold_reason(error), error, retry_after=error.retry_after,
            called_at=called_at, now=now, jitter=jitter,
        )  # fmt: skip

    def tell_failure(
        self,
        scope: Scope,
        reason: HoldReason | None,
        error: ProviderError,
        *,
        retry_after: timedelta | None,
        called_at: datetime,
        now: datetime,
        jitter: float,
        repeated: bool = False,
    ) -> None:
        """Tell what a failure said of the provider; `reason` None: it answered properly.

        Args:
            called_at: When the call began, by Postgres' clock like `now`.
            repeated: The connection had failed before this call already. A few that fail make more calls than
                many that are served, so this says nothing new of the endpoint.
        """
        if reason is None:
            self.tell_success(scope, called_at=called_at)
            return
        if repeated and reason is HoldReason.UNREACHABLE and not self._is_open(scope):
            return
        shared = self._is_shared(scope, reason)
        with self._lock:
            of_all = shared or scope.whole in self._known
        subject = scope.everybody if of_all else None
        try:
            self.failed(
                subject or scope, reason, code=error.code, retry_after=retry_after, now=now, jitter=jitter,
                certain=shared,
            )  # fmt: skip
        except ServiceUnavailable:
            log.warning("breaker_not_written", scope=scope.key)

    def _is_open(self, scope: Scope) -> bool:
        """Say whether a breaker that concerns the scope is open or half open, as far as we know."""
        with self._lock:
            return any(key in self._known for key in scope.keys)

    def _is_shared(self, scope: Scope, reason: HoldReason) -> bool:
        """Say whether a tenant's failure shows trouble of all: several tenants' in a row, no success between.

        Without that, a dead endpoint would open as many breakers and alerts as there are tenants.
        """
        if scope.whole is None or reason is HoldReason.RATE_LIMITED:
            return False
        with self._lock:
            failures, tenants = self._troubled.get(scope.whole, (0, frozenset()))
            failures += 1
            if len(tenants) < TENANTS_TO_OPEN:
                tenants |= {scope.tenant}
            self._troubled[scope.whole] = failures, tenants
        enough = reason is HoldReason.CLIENT_MISCONFIGURED or failures >= FAILURES_TO_OPEN
        return enough and len(tenants) >= TENANTS_TO_OPEN

    def succeeded(self, scope: Scope, *, called_at: datetime) -> None:
        """Tell that the provider answered properly: a breaker that was open before the call closes.

        A call that was under way when the breaker opened proves nothing: the provider may have asked for
        minutes of silence while it was answering this one.
        """
        with self._lock:
            self._note_success(scope)
            self._was_probing(scope.key)
            known = scope.key in self._known
        cause = alerts.provider_cause(scope.key)
        if known and self._holds.close_hold(scope.key, called_at=called_at, cause=cause):
            with self._lock:
                self._known = {key: hold for key, hold in self._known.items() if key != scope.key}
                # What failed before it was open must not speak against what comes now.
                self._recent.forget(scope.key)
            log.info("provider_hold_closed", scope=scope.key, provider=scope.provider_id)

    def _note_success(self, scope: Scope) -> None:
        """Remember a call that was answered. Under the lock."""
        if scope.tenant is None:
            self._recent.note(scope.key, ok=True, at=self._clock())
        else:
            # There may be as many scopes as a provider has tenants: those without trouble are not remembered.
            self._recent.note_success_after_trouble(scope.key, at=self._clock())

    def failed(
        self,
        scope: Scope,
        reason: HoldReason,
        *,
        code: str,
        retry_after: timedelta | None,
        now: datetime,
        jitter: float,
        certain: bool = False,
    ) -> None:
        """Tell what a failure said of the provider: it may open the breaker, or keep it open longer.

        Args:
            now: Postgres' clock.
            certain: It opens the breaker, whatever was before it.
        """
        with self._lock:
            at = self._clock()
            down = self._recent.note(scope.key, ok=False, at=at).is_down(now=at)
            hold = self._known.get(scope.key)
            probed = self._was_probing(scope.key) is not None
        if hold is not None and hold.held_until > hold.now and not probed and retry_after is None:
            # A call that was under way when the breaker opened says nothing that is not known.
            return
        certain = certain or reason is HoldReason.CLIENT_MISCONFIGURED or retry_after is not None
        if not certain and hold is None and not down:
            return
        times = 1 if hold is None else hold.failures + 1
        wait = backoff(times, lifetime=timedelta(minutes=5), jitter=jitter, retry_after=retry_after)
        alert: AlertSpec | None = None
        if reason is not HoldReason.RATE_LIMITED or wait >= LONG_SILENCE:
            alert = alerts.provider_held(scope, reason, code=code)
        self._holds.open_hold(
            scope.key, provider_id=scope.provider_id, reason=str(reason), held_until=now + wait, alert=alert
        )
        with self._lock:
            self._forget()
        log.warning(
            "provider_held", scope=scope.key, provider=scope.provider_id, reason=str(reason), code=code,
            seconds=round(wait.total_seconds(), 1),
        )  # fmt: skip

    def stopping(self, scope: Scope) -> Hold | None:
        """Return the breaker that forbids calls now; None where they may be made, if only as a probe."""
        held = self.held()
        for key in scope.keys:
            hold = held.get(key)
            if hold is not None and hold.held_until > hold.now:
                return hold
        return None

    def probe(self, scope: Scope) -> Hold | None:
        """Take the probe where a breaker is half open; return the breaker if somebody else has it."""
        for key in scope.keys:
            taken_by_another = self._take_probe(key)
            if taken_by_another is not None:
                return taken_by_another
        return None

    def _take_probe(self, key: str) -> Hold | None:
        hold = self.held().get(key)
        if hold is None:
            return None
        # Half open: whoever moves the hold forward first is the probe, the others stay away.
        until = hold.now + PROBE
        taken = self._holds.take_probe(key, expected=hold.held_until, until=until)
        with self._lock:
            self._forget()
            if taken:
                self._probing[key] = (threading.get_ident(), until)
        return None if taken else hold

    def _was_probing(self, key: str) -> datetime | None:
        """Forget that this thread was probing, and return until when; None if it was not. Under the lock."""
        thread, until = self._probing.get(key, (None, None))
        if thread != threading.get_ident():
            return None
        del self._probing[key]
        return until

    def give_back(self, scope: Scope) -> None:
        """Let somebody else probe where nothing was called in the end: the row was not due any more."""
        for key in scope.keys:
            self._give_back(key)

    def _give_back(self, key: str) -> None:
        with self._lock:
            until = self._was_probing(key)
            if until is None:
                return
            self._forget()
        try:
            self._holds.return_probe(key, until=until)
        except ServiceUnavailable:
            log.warning("breaker_not_written", scope=key)
