"""One presentation of a claimed token: open, send, judge, commit first, record failure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from domain.asks import Outcome
from domain.backoff import backoff
from domain.errors import ConfigurationError, ProviderError, SealBroken
from domain.policy import InDoubt, NeedsReauth, RetryAt, after_failure
from domain.schedule import after_answer
from domain.token import Answer, Credentials, Status
from providers.client import ProviderClient
from services import alerts
from services.admission import Admission
from services.providers import ReadyProvider
from services.refresh.landing import Lander
from services.refresh.recording import Recorder
from services.refresh.result import RefreshResult
from storage.activity import Note
from storage.tokens.claims import Claimed
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import AlreadyLanded, Gone, Landed, Landing, Superseded
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)


class Presentation:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        client: ProviderClient,
        admission: Admission,
        lander: Lander,
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tokens = tokens
        self._client = client
        self._admission = admission
        self._lander = lander
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter

    def run(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        *,
        known: float,
        lease_ends: float,
        deadline: timedelta,
    ) -> RefreshResult | None:
        """Present the claimed token and write down what came of it.

        Args:
            known: Our monotonic clock when the claim had returned, to which `claimed.now` corresponds.
            lease_ends: The lease's end on our monotonic clock.

        Returns:
            The result, or None where the row was written by somebody else meanwhile.
        """
        try:
            credentials = self._tokens.open(claimed)
        except SealBroken as error:
            return self._set_aside(claimed, provider, attempt_id, error, known)
        try:
            request = self._client.prepare(
                provider.definition, provider.app, credentials, claimed.ref.metadata
            )
        except ConfigurationError as error:
            return self._set_aside(claimed, provider, attempt_id, error, known)
        # Before the check, not after it: nothing may widen the gap between the check and the send.
        log.debug(
            "presenting", connection_id=str(claimed.ref.connection_id), attempt_id=str(attempt_id),
            lease_left_ms=round((lease_ends - self._clock()) * 1000),
        )  # fmt: skip
        if self._clock() + deadline.total_seconds() > lease_ends:
            return self._too_late(claimed, attempt_id)
        sent_at = self._clock()
        try:
            answer = self._client.present(request, deadline=deadline)
        except ProviderError as error:
            return self._failed(claimed, provider, attempt_id, error, known)
        return self._commit(
            claimed, provider, attempt_id, answer, self._since(claimed, known, sent_at), known
        )

    def _since(self, claimed: Claimed, known: float, instant: float) -> datetime:
        """Translate an instant of our monotonic clock to Postgres' clock, which is the only wall clock."""
        return claimed.now + timedelta(seconds=instant - known)

    def _commit(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        answer: Answer,
        sent_at: datetime,
        known: float,
    ) -> RefreshResult | None:
        ref, token = claimed.ref, claimed.state
        schedule = after_answer(
            provider.facts, began_at=sent_at, expires_in=answer.expires_in, jitter=self._jitter()
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
            refresh_expires_at=_after(sent_at, answer.refresh_expires_in),
            scope=answer.scope if answer.scope != claimed.scope else None,
            note=Note("refreshed", detail=self._punctuality(claimed, known)),
        )
        result = self._lander.land(landing)
        self._admission.tell_success(provider.scope, called_at=claimed.now)
        words = {
            "connection_id": str(ref.connection_id),
            "provider": ref.provider_id,
            "attempt_id": str(attempt_id),
        }
        match result:
            case Landed(version) | AlreadyLanded(version):
                log.info(
                    "token_refreshed", version=version, recovered=token.status is Status.IN_DOUBT, **words
                )
                return RefreshResult(Outcome.REFRESHED, ref.connection_id, schedule.expires_at, version)
            case Superseded(version):
                log.warning("answer_superseded", version=version, **words)
                return None
            case Gone():
                log.warning("answer_for_a_gone_grant", **words)
                return None

    def _punctuality(self, claimed: Claimed, known: float) -> dict[str, object]:
        """Return how many seconds after its planned time a due refresh was answered."""
        due, now = claimed.state.refresh_due_at, self._since(claimed, known, self._clock())
        if due is None or due >= claimed.now:
            return {}
        return {"late_seconds": round((now - due).total_seconds(), 3)}

    def _failed(
        self, claimed: Claimed, provider: ReadyProvider, attempt_id: UUID, error: ProviderError, known: float
    ) -> RefreshResult | None:
        ref, token = claimed.ref, claimed.state
        now = self._since(claimed, known, self._clock())
        verdict = after_failure(token, provider.facts, error, now=now, jitter=self._jitter())
        try:
            saved = isinstance(verdict.token, NeedsReauth) and self._recorder.promote_spare(claimed)
        except SealBroken as broken:
            return self._set_aside(claimed, provider, attempt_id, broken, known)
        if saved:
            log.warning("spare_promoted", connection_id=str(ref.connection_id), attempt_id=str(attempt_id))
            return RefreshResult(Outcome.DEFERRED, ref.connection_id, token.expires_at, None, now, error.code)
        record = self._recorder.record_of(claimed, provider, attempt_id, error.code, verdict)
        written = self._recorder.write(record)
        self._admission.tell_failure(
            provider.scope, verdict.provider, error, retry_after=verdict.provider_retry_after,
            called_at=claimed.now, now=now, jitter=self._jitter(),
        )  # fmt: skip
        log.warning(
            "refresh_failed", connection_id=str(ref.connection_id), provider=ref.provider_id,
            attempt_id=str(attempt_id), error=type(error).__name__, code=error.code, status=error.http_status,
            decision=type(verdict.token).__name__, written=written,
        )  # fmt: skip
        if not written:
            return None
        match verdict.token:
            case NeedsReauth(reason):
                return RefreshResult(
                    Outcome.NEEDS_REAUTH,
                    ref.connection_id,
                    token.expires_at,
                    token.version,
                    None,
                    str(reason),
                )
            case InDoubt(recover_at):
                return RefreshResult(
                    Outcome.DEFERRED,
                    ref.connection_id,
                    token.expires_at,
                    token.version,
                    recover_at,
                    "in_doubt",
                )
            case RetryAt(at):
                return RefreshResult(
                    Outcome.DEFERRED, ref.connection_id, token.expires_at, token.version, at, error.code
                )

    def _set_aside(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        error: SealBroken | ConfigurationError,
        known: float,
    ) -> RefreshResult | None:
        """Nothing could be sent, because of something that only an operator mends: keep it, say so, wait."""
        ref, token = claimed.ref, claimed.state
        now = self._since(claimed, known, self._clock())
        wait = backoff(token.failures + 1, lifetime=token.lifetime, jitter=self._jitter())
        sealed = isinstance(error, SealBroken)
        code = "unreadable" if sealed else "not_presentable"
        name = provider.definition.display_name
        retry_at = now + wait
        if sealed:
            alert = alerts.unreadable(ref, name, why=str(error))
        else:
            alert = alerts.failing(ref, name, code=str(error), failures=token.failures + 1, retry_at=retry_at)
        doubtful = token.status is Status.IN_DOUBT
        record = FailureRecord(
            connection_id=ref.connection_id,
            attempt_id=attempt_id,
            version=token.version,
            status=Status.IN_DOUBT if doubtful else Status.ACTIVE,
            failures=token.failures + 1,
            code=code,
            refresh_due_at=retry_at,
            note=Note("set_aside", code),
            not_before=None if doubtful else retry_at,
            alert=alert,
        )
        log.error("token_set_aside", connection_id=str(ref.connection_id), code=code, why=str(error))
        if not self._recorder.write(record):
            return None
        return RefreshResult(
            Outcome.DEFERRED, ref.connection_id, token.expires_at, token.version, retry_at, code
        )

    def _too_late(self, claimed: Claimed, attempt_id: UUID) -> RefreshResult:
        """The claim took so long that a full deadline no longer fits into the lease: send nothing."""
        token = claimed.state
        self._tokens.release(token.connection_id, attempt_id, refresh_due_at=None)
        log.warning("lease_too_short", connection_id=str(token.connection_id), attempt_id=str(attempt_id))
        return RefreshResult(
            Outcome.DEFERRED,
            token.connection_id,
            token.expires_at,
            token.version,
            claimed.now,
            "lease_too_short",
        )


def _after(instant: datetime, duration: timedelta | None) -> datetime | None:
    return None if duration is None else instant + duration
