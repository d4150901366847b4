"""What a presentation that brought no answer means: judged, written down, told.

Nothing here decides by itself: the policy does, and the row's fences have the last word.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from domain.asks import Outcome
from domain.backoff import backoff
from domain.errors import ConfigurationError, ProviderError, SealBroken, ServiceUnavailable
from domain.incidents import UNDER_HOLD, withheld
from domain.policy import InDoubt, NeedsReauth, RetryAt, Verdict, Withheld, after_failure
from domain.token import Status
from services import alerts
from services.admission import Admission
from services.incidents import Incidents
from services.providers import ReadyProvider
from services.refresh.recording import Recorder
from services.refresh.result import RefreshResult, of_token
from services.scopes import Scope
from storage.activity import Note
from storage.tokens.claims import Claimed
from storage.tokens.failing import FailureRecord

log = structlog.get_logger(__name__)


class FailedAttempts:
    """One per process; thread-safe. Every instant is Postgres' clock."""

    def __init__(
        self,
        admission: Admission,
        recorder: Recorder,
        incidents: Incidents,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._admission = admission
        self._recorder = recorder
        self._incidents = incidents
        self._jitter = jitter

    def failed(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        error: ProviderError,
        *,
        now: datetime,
        sent_at: datetime,
    ) -> RefreshResult | None:
        """Write a failed presentation down as the policy decides; None if the row has moved on from it.

        Args:
            sent_at: When it was sent, by Postgres' clock.
        """
        ref, token = claimed.ref, claimed.state
        scope = provider.scope_of(token.tenant)
        verdict = after_failure(token, provider.facts, error, now=now, jitter=self._jitter(), sent_at=sent_at)
        if isinstance(verdict.token, NeedsReauth) and self._withheld(scope, ref.connection_id):
            # No spare is tried either: it would take the place of a token that is probably good.
            verdict = withheld(verdict, token, now=now, jitter=self._jitter())
        try:
            saved = isinstance(verdict.token, NeedsReauth) and self._recorder.promote_spare(claimed)
        except SealBroken as broken:
            return self.set_aside(claimed, provider, attempt_id, broken, now=now)
        if saved:
            log.warning("spare_promoted", connection_id=str(ref.connection_id), attempt_id=str(attempt_id))
            return RefreshResult(Outcome.DEFERRED, ref.connection_id, token.expires_at, None, now, error.code)
        record = self._recorder.record_of(claimed, provider, attempt_id, error.code, verdict)
        written = self._recorder.write(record)
        self._admission.breakers.tell_failure(
            scope, verdict.provider, error, retry_after=verdict.provider_retry_after,
            called_at=claimed.now, now=now, jitter=self._jitter(), repeated=token.failures > 0,
        )  # fmt: skip
        log.warning(
            "refresh_failed", connection_id=str(ref.connection_id), provider=ref.provider_id,
            attempt_id=str(attempt_id), error=type(error).__name__, code=error.code, status=error.http_status,
            decision=type(verdict.token).__name__, written=written,
        )  # fmt: skip
        if not written:
            return None
        if record.status is Status.NEEDS_REAUTH and record.refused and self._taken_back(scope):
            retry_at = self._recorder.retry_at(ref.connection_id)
            return of_token(token, Outcome.DEFERRED, retry_at, UNDER_HOLD)
        return _result(claimed, verdict, error)

    def _withheld(self, scope: Scope, connection_id: UUID) -> bool:
        """Say whether a wave of refusals keeps this one from being a death sentence.

        Raises:
            ServiceUnavailable: Postgres stayed away: nobody knows, so nobody is declared dead.
        """
        return self._recorder.patiently(lambda: self._incidents.withholds(scope), connection_id)

    def _taken_back(self, scope: Scope) -> bool:
        """Say whether the sentence that was just written is void, because it belongs to a wave."""
        try:
            return self._incidents.sentenced(scope)
        except ServiceUnavailable:
            # The sentence stands for the moment; the incidents' own tick looks at it again.
            log.warning("wave_not_looked_for", scope=scope.key)
            return False

    def set_aside(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        error: SealBroken | ConfigurationError,
        *,
        now: datetime,
    ) -> RefreshResult | None:
        """Nothing could be sent, because of something that only an operator mends: keep it, say so, wait."""
        ref, token = claimed.ref, claimed.state
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
        return of_token(token, Outcome.DEFERRED, retry_at, code)


def _result(claimed: Claimed, verdict: Verdict, error: ProviderError) -> RefreshResult:
    match verdict.token:
        case NeedsReauth(reason):
            return of_token(claimed.state, Outcome.NEEDS_REAUTH, None, str(reason))
        case InDoubt(recover_at):
            return of_token(claimed.state, Outcome.DEFERRED, recover_at, "in_doubt")
        case Withheld(at):
            return of_token(claimed.state, Outcome.DEFERRED, at, UNDER_HOLD)
        case RetryAt(at):
            return of_token(claimed.state, Outcome.DEFERRED, at, error.code)
