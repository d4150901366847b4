"""One presentation of a claimed token: open, send, judge, commit first, record failure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.asks import Outcome
from domain.errors import ConfigurationError, ProviderError, SealBroken
from domain.lifetimes import refresh_token_end
from domain.schedule import after_answer
from domain.token import Answer, Credentials, Status
from providers.client import ProviderClient
from services.admission import Admission
from services.events import EventDigests
from services.providers import ReadyProvider
from services.refresh.failing import FailedAttempts
from services.refresh.landing import Lander, Staged
from services.refresh.result import RefreshResult, of_token
from storage.activity import Note
from storage.tokens.claims import Claimed
from storage.tokens.landing import AlreadyLanded, Gone, Landed, Landing, Superseded
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: When a caller may ask again for a token whose answer waits for Postgres.
STAGED_RETRY: Final = timedelta(seconds=5)


class Presentation:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        client: ProviderClient,
        admission: Admission,
        lander: Lander,
        failures: FailedAttempts,
        digests: EventDigests,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tokens = tokens
        self._client = client
        self._admission = admission
        self._lander = lander
        self._failures = failures
        self._digests = digests
        self._clock = clock
        self._jitter = jitter

    def run(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        *,
        began: float,
        known: float,
        lease_ends: float,
        deadline: timedelta,
        flight: int,
    ) -> RefreshResult | None:
        """Present the claimed token and write down what came of it.

        Args:
            began, known: Our monotonic clock before the claim was sent, and when it had returned; Postgres
                read its clock (`claimed.now`) between the two. Counted from `began` an instant is never too
                early, which is how waits and settling times are counted; from `known` it is never too late,
                which is how an expiry is.
            lease_ends: The lease's end on our monotonic clock.
            flight: Of this presentation (`Flights.flight`).

        Returns:
            The result, or None where the row was written by somebody else meanwhile.
        """
        try:
            credentials = self._tokens.open(claimed)
            request = self._client.prepare(
                provider.definition, provider.app, credentials, claimed.ref.metadata
            )
        except (SealBroken, ConfigurationError) as error:
            return self._failures.set_aside(
                claimed, provider, attempt_id, error, now=self._now(claimed, began)
            )
        # Before the check, not after it: nothing may widen the gap between the check and the send.
        log.debug(
            "presenting", connection_id=str(claimed.ref.connection_id), attempt_id=str(attempt_id),
            lease_left_ms=round((lease_ends - self._clock()) * 1000),
        )  # fmt: skip
        # The deadline counts from this look at the lease: a process that is frozen right after it, and for
        # longer than the lease has room, finds its deadline over where the first byte would be written.
        sent_at = self._clock()
        if sent_at + deadline.total_seconds() > lease_ends:
            return self._too_late(claimed, attempt_id)
        try:
            answer = self._client.present(
                request, deadline=deadline, began=sent_at, now=self._since(claimed, known, sent_at)
            )
        except ProviderError as error:
            return self._failures.failed(
                claimed,
                provider,
                attempt_id,
                error,
                now=self._now(claimed, began),
                sent_at=self._since(claimed, began, sent_at),
            )
        # A provider may also answer with the very refresh token that was presented.
        renewed = answer.refresh_token is not None and answer.refresh_token != credentials.refresh_token
        return self._commit(
            claimed,
            provider,
            attempt_id,
            answer,
            self._since(claimed, known, sent_at),
            known,
            flight,
            renewed=renewed,
        )

    def _now(self, claimed: Claimed, read: float) -> datetime:
        return self._since(claimed, read, self._clock())

    def _since(self, claimed: Claimed, read: float, instant: float) -> datetime:
        """Translate an instant of our monotonic clock to Postgres' clock, which is the only wall clock.

        Args:
            read: When Postgres' clock is taken to have been read, on ours.
        """
        return claimed.now + timedelta(seconds=instant - read)

    def _commit(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        answer: Answer,
        sent_at: datetime,
        known: float,
        flight: int,
        *,
        renewed: bool,
    ) -> RefreshResult | None:
        ref, token, facts = claimed.ref, claimed.state, provider.facts
        refresh_expires_at = refresh_token_end(
            facts, began_at=sent_at, told=answer.refresh_expires_in, renewed=renewed
        )
        schedule = after_answer(
            facts,
            began_at=sent_at,
            expires_in=answer.expires_in,
            jitter=self._jitter(),
            refresh_lives=refresh_expires_at - sent_at if renewed and refresh_expires_at else None,
        )
        landing = Landing(
            connection_id=ref.connection_id,
            grant_id=token.grant_id,
            presented_version=token.version,
            attempt_id=attempt_id,
            credentials=Credentials(answer.access_token, answer.refresh_token),
            # An answer that omits the refresh token keeps the old one (RFC 6749 §6).
            keep_refresh=answer.refresh_token is None,
            schedule=schedule,
            refresh_expires_at=refresh_expires_at,
            scope=answer.scope if answer.scope != claimed.scope else None,
            note=Note("refreshed", detail=self._detail(claimed, known)),
        )
        result = self._lander.land(landing, flight)
        self._admission.breakers.tell_success(provider.scope_of(token.tenant), called_at=claimed.now)
        words = {
            "connection_id": str(ref.connection_id),
            "provider": ref.provider_id,
            "attempt_id": str(attempt_id),
        }
        match result:
            case Landed(version) | AlreadyLanded(version):
                if answer.refresh_token is not None:
                    self._digests.note(ref.provider_id, [ref.connection_id])
                log.info(
                    "token_refreshed", version=version, recovered=token.status is Status.IN_DOUBT, **words
                )
                return RefreshResult(Outcome.REFRESHED, ref.connection_id, schedule.expires_at, version)
            case Staged():
                retry_at = self._now(claimed, known) + STAGED_RETRY
                return of_token(token, Outcome.DEFERRED, retry_at, "staged")
            case Superseded(version):
                log.warning("answer_superseded", version=version, **words)
                return None
            case Gone():
                log.warning("answer_for_a_gone_grant", **words)
                return None

    def _detail(self, claimed: Claimed, known: float) -> dict[str, object]:
        """Return how many seconds after its planned time it was answered, or for how long it was in doubt."""
        token, now = claimed.state, self._now(claimed, known)
        if token.status is Status.IN_DOUBT:
            began = token.first_presented_at or now
            return {"recovered": True, "doubt_seconds": round((now - began).total_seconds(), 3)}
        if token.refresh_due_at is None or token.refresh_due_at >= claimed.now:
            return {}
        return {"late_seconds": round((now - token.refresh_due_at).total_seconds(), 3)}

    def _too_late(self, claimed: Claimed, attempt_id: UUID) -> RefreshResult:
        """The claim took so long that a full deadline no longer fits into the lease: send nothing."""
        token = claimed.state
        self._tokens.release(token.connection_id, attempt_id, refresh_due_at=None)
        log.warning("lease_too_short", connection_id=str(token.connection_id), attempt_id=str(attempt_id))
        return of_token(token, Outcome.DEFERRED, claimed.now, "lease_too_short")
