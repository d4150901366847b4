"""Health checks: is the token that we hold still accepted, and by what it may do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ConfigurationError, ProviderError, SealBroken
from domain.health import SECOND_OPINION, CheckOutcome, CheckVerdict, after_check
from domain.policy import FAILURES_WORTH_AN_ALERT
from domain.token import ConnectionRef, ReauthReason, Status, TokenState
from providers.client import ProviderClient
from services import alerts
from services.admission import ACCOUNT_RATE, CONCURRENCY, Admission, Denied
from services.codes import explained
from services.crowding import Crowding
from services.providers import ProviderDesk, ReadyProvider
from services.scopes import Scope
from storage.activity import Note
from storage.alerts import AlertSpec
from storage.tokens.checks import CheckRecord
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: One health check's total time.
DEADLINE: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one health check. `checked_at` None: nothing was asked."""

    outcome: CheckOutcome
    connection_id: UUID | None
    checked_at: datetime | None = None
    code: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the JSON shape that the contract promises."""
        return {
            "outcome": str(self.outcome),
            "connection_id": None if self.connection_id is None else str(self.connection_id),
            "checked_at": None if self.checked_at is None else self.checked_at.isoformat(),
            "error": explained(self.code),
        }


class HealthChecks:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        desk: ProviderDesk,
        admission: Admission,
        client: ProviderClient,
        crowding: Crowding,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._crowding = crowding
        self._tokens = tokens
        self._desk = desk
        self._admission = admission
        self._client = client
        self._clock = clock
        self._jitter = jitter

    def check(self, connection_id: UUID, *, scheduled: bool = False) -> CheckResult:
        """Ask the provider whether it accepts the token, and write down what that means.

        The verdict is dropped if the token's version moved meanwhile: it was about another token.

        Raises:
            ServiceUnavailable: Postgres is away; nothing was written.
        """
        began = self._clock()
        begun = self._tokens.begin_check(connection_id)
        if begun is None:
            return CheckResult(CheckOutcome.NOT_FOUND, connection_id, code="not_found")
        ref, token, now, sealed = begun
        settled = _settled(token)
        if settled is not None:
            return settled
        if token.refreshable and token.expires_at is not None and token.expires_at <= now:
            # An expired access token is refused by rights; that says nothing about the grant.
            return self._put_off(token, now, "expired")
        provider = self._desk.ready(ref.provider_id)
        if not isinstance(provider, ReadyProvider):
            return CheckResult(CheckOutcome.DEFERRED, connection_id, code=provider.code)
        if provider.definition.check is None:
            return self._put_off(token, None, "no_health_check_defined")
        try:
            access_token = self._tokens.open_access(sealed)
        except SealBroken as broken:
            alert = alerts.unreadable(ref, provider.definition.display_name, why=str(broken))
            return self._put_off(token, now, "unreadable", alert)
        error: ProviderError | None = None
        account = provider.account_of(
            account_id=ref.account_id, tenant=token.tenant, connection_id=connection_id
        )
        scope = replace(provider.check_scope_of(token.tenant), account=account)
        with self._admission.admit(scope) as gate:
            if isinstance(gate, Denied):
                if scheduled:
                    self._give_back(connection_id, scope, gate)
                return CheckResult(CheckOutcome.DEFERRED, connection_id, code=gate.code)
            called_at = now + timedelta(seconds=self._clock() - began)
            try:
                self._client.check(
                    provider.definition, provider.app, access_token, ref.metadata, deadline=DEADLINE
                )
            except ProviderError as failure:
                error = failure
            except ConfigurationError as unsendable:
                return self._put_off(
                    token, now, "not_presentable", self._unsendable(ref, provider, unsendable, now)
                )
            checked_at = now + timedelta(seconds=self._clock() - began)
            self._admission.breakers.tell(
                scope, error, called_at=called_at, now=checked_at, jitter=self._jitter()
            )
        verdict = after_check(token, provider.facts, error, now=checked_at, jitter=self._jitter())
        return self._record(ref, token, provider, verdict, error, checked_at)

    def _give_back(self, connection_id: UUID, scope: Scope, gate: Denied) -> None:
        """Give a scheduled check back that was not admitted; as `Denials.denied` does with refreshes."""
        if gate.code == ACCOUNT_RATE:
            self._tokens.put_off(connection_id, self._admission.turn(scope), "check")
            self._crowding.put_off(scope)
        else:
            self._tokens.unmark([connection_id], "check")
        if gate.code == CONCURRENCY:
            self._crowding.turned_away(scope)

    def _unsendable(
        self, ref: ConnectionRef, provider: ReadyProvider, why: ConfigurationError, now: datetime
    ) -> AlertSpec:
        return alerts.failing(
            ref, provider.definition.display_name, code=str(why), failures=1, retry_at=now + SECOND_OPINION
        )

    def _put_off(
        self, token: TokenState, now: datetime | None, code: str, alert: AlertSpec | None = None
    ) -> CheckResult:
        """Come back later to a token about which nothing can be asked now; never, where `now` is None."""
        self._tokens.record_check(
            CheckRecord(
                connection_id=token.connection_id,
                grant_id=token.grant_id,
                version=token.version,
                verified=False,
                check_failures=token.check_failures,
                check_due_at=None if now is None else now + SECOND_OPINION,
                alert=alert,
            )
        )
        return CheckResult(CheckOutcome.DEFERRED, token.connection_id, code=code)

    def _record(
        self,
        ref: ConnectionRef,
        token: TokenState,
        provider: ReadyProvider,
        verdict: CheckVerdict,
        error: ProviderError | None,
        checked_at: datetime,
    ) -> CheckResult:
        code = None if error is None else error.code
        written = self._tokens.record_check(
            CheckRecord(
                connection_id=ref.connection_id,
                grant_id=token.grant_id,
                version=token.version,
                verified=error is None or verdict.outcome is CheckOutcome.INSUFFICIENT_SCOPE,
                code=code,
                check_failures=verdict.check_failures,
                check_due_at=verdict.check_due_at,
                refresh_now=verdict.refresh_now,
                needs_reauth=verdict.reauth,
                note=Note("checked", code, {"outcome": str(verdict.outcome)}),
                alert=self._alert(ref, provider, verdict, code or "ok", checked_at),
                resolve_alerts=verdict.outcome is CheckOutcome.HEALTHY and _recovered(token),
            )
        )
        log.info(
            "token_checked", connection_id=str(ref.connection_id), provider=ref.provider_id,
            outcome=str(verdict.outcome), code=code, written=written,
        )  # fmt: skip
        if not written:
            return CheckResult(CheckOutcome.DEFERRED, ref.connection_id, checked_at, "version_moved")
        return CheckResult(verdict.outcome, ref.connection_id, checked_at, code)

    def _alert(
        self, ref: ConnectionRef, provider: ReadyProvider, verdict: CheckVerdict, code: str, now: datetime
    ) -> AlertSpec | None:
        name = provider.definition.display_name
        if verdict.reauth is not None:
            return alerts.needs_reauth(ref, name, verdict.reauth, code=code)
        if verdict.check_failures >= FAILURES_WORTH_AN_ALERT:
            return alerts.failing(
                ref, name, code=code, failures=verdict.check_failures, retry_at=verdict.check_due_at or now
            )
        return None


def _settled(token: TokenState) -> CheckResult | None:
    """Answer for a token whose state needs no question; None where it has to be asked."""
    match token.status:
        case Status.DISCONNECTED:
            return CheckResult(CheckOutcome.NOT_FOUND, token.connection_id, code="disconnected")
        case Status.NEEDS_REAUTH:
            code = token.reauth_reason or str(ReauthReason.GRANT_REJECTED)
            return CheckResult(CheckOutcome.NEEDS_REAUTH, token.connection_id, code=code)
        case _:
            return None


def _recovered(token: TokenState) -> bool:
    """Say whether a healthy answer ends what the alert was about: a failing refresh is not ended by it."""
    return token.alerted and (not token.refreshable or token.failures == 0)
