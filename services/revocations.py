"""Revoking what was disconnected: at once where that is possible, else from the outbox until it is done.

Repeating a revocation costs nothing, so every outcome but "done" is a reason to come back. What must not
happen is that a revocation ends a grant which somebody lives on: that is asked again right before each call.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import structlog

from domain.backoff import backoff
from domain.errors import ConfigurationError, GrantRejected, ProviderError, SealBroken
from domain.policy import hold_reason
from providers.client import ProviderClient
from services import alerts
from services.admission import Admission, Denied
from services.providers import ProviderDesk, ReadyProvider
from storage.activity import Note
from storage.revocations import PendingRevocation, RevocationStore

log = structlog.get_logger(__name__)

#: Total time of one call from the outbox.
DEADLINE: Final = timedelta(seconds=10)
#: How long a taken revocation is nobody else's: a call, and patience with Postgres around it.
LEASE: Final = timedelta(seconds=60)
#: How long one run goes on taking from the outbox. Ticks come every ten seconds.
BUDGET: Final = timedelta(seconds=8)
#: How long a revocation is tried before a person is told.
GIVE_UP_AFTER: Final = timedelta(hours=24)
#: A revocation that was not admitted is looked at again after this.
DENIED: Final = timedelta(seconds=10)


class Fate(StrEnum):
    """What became of one revocation. `PENDING` and `UNWELL`: it waits in the outbox, with `UNWELL` because
    the provider, and not this token, is the trouble.
    """

    REVOKED = "revoked"
    NOT_ALIVE = "not_alive"
    SHARED = "shared_with_sibling"
    NO_ENDPOINT = "no_revoke_endpoint"
    GAVE_UP = "gave_up"
    PENDING = "revocation_pending"
    UNWELL = "provider_unwell"


class Revocations:
    """One per process; thread-safe. Any number of processes may work on the outbox side by side."""

    def __init__(
        self,
        store: RevocationStore,
        desk: ProviderDesk,
        admission: Admission,
        client: ProviderClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._desk = desk
        self._admission = admission
        self._client = client
        self._clock = clock
        self._jitter = jitter
        self._draining = threading.Lock()

    def attempt(self, revocation_id: UUID, *, deadline: timedelta) -> Fate:
        """Make one revocation now; `PENDING` where the outbox has to go on with it.

        Args:
            deadline: Total time of the call.

        Raises:
            ServiceUnavailable: Postgres is away; the revocation is still in the outbox.
        """
        pending = self._store.take(lease=LEASE, only=revocation_id)
        # Somebody else has it already, and will finish it.
        fate = Fate.PENDING if pending is None else self._revoke(pending, deadline)
        return Fate.PENDING if fate is Fate.UNWELL else fate

    def drain(self) -> int:
        """Make the revocations that are due, as many as fit into `BUDGET`; returns how many are done.

        A provider that could not be called is left alone for the rest of the run, so that one that is down
        keeps nobody else's waiting.

        Raises:
            ServiceUnavailable: Postgres is away; nothing is lost by it.
        """
        if not self._draining.acquire(blocking=False):
            return 0
        try:
            return self._drain()
        finally:
            self._draining.release()

    def _drain(self) -> int:
        ends = self._clock() + BUDGET.total_seconds()
        unwell: list[str] = []
        done = 0
        while self._clock() < ends:
            pending = self._store.take(lease=LEASE, without=unwell)
            if pending is None:
                break
            fate = self._revoke(pending, DEADLINE)
            if fate is Fate.UNWELL:
                unwell.append(pending.provider_id)
            elif fate is not Fate.PENDING:
                done += 1
        return done

    def _revoke(self, pending: PendingRevocation, deadline: timedelta) -> Fate:
        began = self._clock()
        provider = self._desk.ready(pending.provider_id)
        if self._desk.revocable(pending.provider_id) is False:
            return self._finish(pending, Fate.NO_ENDPOINT, Note("revocation_dropped", Fate.NO_ENDPOINT))
        if not isinstance(provider, ReadyProvider):
            return self._later(pending, provider.code, Fate.UNWELL)
        try:
            token = self._store.open(pending)
        except SealBroken as broken:
            log.error("revocation_unreadable", connection_id=str(pending.connection_id), why=str(broken))
            return self._later(pending, "unreadable", Fate.PENDING)
        with self._admission.admit(provider.revoke_scope) as gate:
            if isinstance(gate, Denied):
                return self._denied(pending, gate)
            siblings = self._store.siblings(pending, self._desk.kin(provider))
            if siblings:
                detail = {"siblings": [str(sibling) for sibling in siblings]}
                note = Note("revocation_dropped", Fate.SHARED, detail)
                return self._finish(pending, Fate.SHARED, note)
            called_at = pending.now + timedelta(seconds=self._clock() - began)
            failure: ProviderError | None = None
            try:
                self._client.revoke(
                    provider.definition,
                    provider.app,
                    token,
                    pending.kind,
                    pending.metadata,
                    deadline=deadline,
                )
            except ConfigurationError:
                # The token is none that could be sent, or nobody knows to where, today or tomorrow.
                return self._give_up(pending, "not_sendable")
            except ProviderError as error:
                failure = error
            now = pending.now + timedelta(seconds=self._clock() - began)
            self._admission.breakers.tell(
                provider.revoke_scope, failure, called_at=called_at, now=now, jitter=self._jitter()
            )
        if failure is None or isinstance(failure, GrantRejected):
            fate = Fate.REVOKED if failure is None else Fate.NOT_ALIVE
            was = {"token": str(pending.kind), "attempts": pending.attempts, "was_alive": failure is None}
            return self._finish(pending, fate, Note("revoked", detail=was))
        fate = Fate.PENDING if hold_reason(failure) is None else Fate.UNWELL
        return self._later(pending, failure.code, fate, retry_after=failure.retry_after)

    def _finish(self, pending: PendingRevocation, fate: Fate, note: Note) -> Fate:
        self._store.finish(pending, note)
        log.info(
            "revocation_ended", connection_id=str(pending.connection_id), provider=pending.provider_id,
            fate=str(fate),
        )  # fmt: skip
        return fate

    def _denied(self, pending: PendingRevocation, gate: Denied) -> Fate:
        """Come back when the breaker may be closed; a rate or a share that is in use says nothing bad."""
        if gate.retry_at is not None and pending.age >= GIVE_UP_AFTER:
            return self._give_up(pending, gate.code)
        wait = DENIED if gate.retry_at is None else max(DENIED, gate.retry_at - pending.now)
        self._store.again(pending, wait, counted=False)
        return Fate.UNWELL

    def _later(
        self, pending: PendingRevocation, code: str, fate: Fate, *, retry_after: timedelta | None = None
    ) -> Fate:
        if pending.age >= GIVE_UP_AFTER:
            return self._give_up(pending, code)
        wait = backoff(pending.attempts, lifetime=None, jitter=self._jitter(), retry_after=retry_after)
        self._store.again(pending, wait)
        log.warning(
            "revocation_failed", connection_id=str(pending.connection_id), provider=pending.provider_id,
            code=code, attempts=pending.attempts, seconds=round(wait.total_seconds(), 1),
        )  # fmt: skip
        return fate

    def _give_up(self, pending: PendingRevocation, code: str) -> Fate:
        name = self._desk.display_name(pending.provider_id)
        alert = alerts.not_revoked(
            pending.connection_id, pending.provider_id, name, user_id=pending.holder.user_id, code=code,
            manage_url=self._desk.manage_url(pending.provider_id),
        )  # fmt: skip
        note = Note("revocation_failed", code, {"token": str(pending.kind), "attempts": pending.attempts})
        self._store.finish(pending, note, alert)
        log.error(
            "revocation_given_up", connection_id=str(pending.connection_id), provider=pending.provider_id,
            code=code,
        )  # fmt: skip
        return Fate.GAVE_UP
