"""Storing what a consent brought, and telling what it lacks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.connecting import shortfall
from domain.errors import ConfigurationError, ServiceUnavailable
from domain.lifetimes import refresh_token_end
from domain.provider import GrantKind, Rotation
from domain.schedule import Schedule, after_answer
from domain.token import Answer, ConnectionRef, Credentials
from providers.accounts import Account
from providers.tenants import tenant_of
from services import alerts
from services.connecting.exchange import Exchanged
from services.connecting.outcomes import Failure, Finished
from services.events import EventDigests
from services.providers import ReadyProvider
from storage.alerts import AlertSpec
from storage.connecting import Connected, ConnectStore, Consent, Unstorable
from storage.flows import Flow
from storage.importing import NewConnection

log = structlog.get_logger(__name__)

#: The key of a connection's metadata under which the account's name for people stands.
LABEL: Final = "account_label"
#: How long Postgres is waited for while somebody looks at a browser: the grant is in memory alone.
STORE_PATIENCE: Final = timedelta(seconds=8)
_PAUSE: Final = 0.2


class Landing:
    """One per process; thread-safe."""

    def __init__(
        self,
        store: ConnectStore,
        event_digests: EventDigests,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._event_digests = event_digests
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def store(self, provider: ReadyProvider, flow: Flow, exchanged: Exchanged) -> Finished:
        """Store a grant as the user's connection; one of the same account gets it in place of its own.

        Raises:
            ServiceUnavailable: Postgres has been away for `STORE_PATIENCE`; the grant is lost, and the person
            has to consent again.
        """
        name = provider.definition.display_name
        failed = Finished(flow.provider_id, name, redirect_to=flow.redirect_to)
        account = exchanged.account
        account_id = _account_id(flow, account)
        if account_id is None:
            return replace(failed, failure=Failure.OTHER_ACCOUNT)
        missing = _missing(provider, flow, exchanged.answer)
        new = self._new(provider, flow, exchanged, account_id)
        consent = Consent(
            new=new,
            names=() if account is None else tuple(filter(None, (account.id, account.label))),
            nameless=flow.account_id == "",
            needs_refresh_token=provider.facts.grant is GrantKind.REFRESH_TOKEN,
            detail={"asked": list(flow.scopes), "missing": list(missing), "flow_id": str(flow.id)},
            alerts=_alerts(flow, account_id, name, missing=missing, new=new),
        )
        try:
            connected = self._patiently(consent)
        except Unstorable:
            return replace(failed, failure=Failure.ACCOUNT_UNKNOWN, code="unstorable_text")
        self._event_digests.note(flow.provider_id, [connected.connection_id])
        log.info(
            "connected", connection_id=str(connected.connection_id), provider=flow.provider_id,
            before=None if connected.before is None else str(connected.before), missing=list(missing),
            kept=connected.kept,
        )  # fmt: skip
        return Finished(
            flow.provider_id,
            name,
            connection_id=connected.connection_id,
            account=account_id if account is None else account.label or account.id,
            missing=() if connected.kept else missing,
            kept=connected.kept,
            redirect_to=flow.redirect_to,
        )

    def _patiently(self, consent: Consent) -> Connected:
        give_up_at = self._clock() + STORE_PATIENCE.total_seconds()
        while True:
            try:
                return self._store.store(consent)
            except ServiceUnavailable:
                # What was stored unheard is the same grant: repeating it changes nothing.
                if self._clock() >= give_up_at:
                    raise
                self._sleep(_PAUSE)

    def _new(
        self, provider: ReadyProvider, flow: Flow, exchanged: Exchanged, account_id: str
    ) -> NewConnection:
        answer, facts = exchanged.answer, provider.facts
        metadata: dict[str, object] = {**flow.variables, **exchanged.variables}
        if exchanged.account is not None and exchanged.account.label:
            metadata[LABEL] = exchanged.account.label
        refreshable = facts.grant is GrantKind.REFRESH_TOKEN and answer.refresh_token is not None
        refresh_expires_at = (
            refresh_token_end(
                facts, began_at=exchanged.began_at, told=answer.refresh_expires_in, renewed=True
            )
            if refreshable
            else None
        )
        return NewConnection(
            user_id=flow.user_id,
            provider_id=flow.provider_id,
            account_id=account_id,
            credentials=Credentials(answer.access_token, answer.refresh_token),
            scope=flow.scopes if answer.scope is None else answer.scope,
            metadata=metadata,
            tenant=_tenant(provider, metadata),
            refreshable=refreshable,
            rotates=facts.rotation is not Rotation.NONE,
            refresh_expires_at=refresh_expires_at,
            schedule=self._schedule(provider, exchanged, refresh_expires_at, refreshable=refreshable),
        )

    def _schedule(
        self,
        provider: ReadyProvider,
        exchanged: Exchanged,
        refresh_expires_at: datetime | None,
        *,
        refreshable: bool,
    ) -> Schedule:
        began_at = exchanged.began_at
        # Using a refresh token sooner puts its end off where another one comes of it.
        renewing = refresh_expires_at is not None and provider.facts.rotation is not Rotation.NONE
        schedule = after_answer(
            provider.facts,
            began_at=began_at,
            expires_in=exchanged.answer.expires_in,
            jitter=self._jitter(),
            refresh_lives=refresh_expires_at - began_at if refresh_expires_at and renewing else None,
        )
        return schedule if refreshable else replace(schedule, refresh_due_at=None)


def _account_id(flow: Flow, account: Account | None) -> str | None:
    """Return what the account is called here; None: it is another one than was meant.

    A caller may name it by its id at the provider, or by what people see of it, such as an address.
    """
    if account is None:
        return flow.account_id or ""
    if not flow.account_id:
        return account.id
    return flow.account_id if flow.account_id in (account.id, account.label) else None


def _missing(provider: ReadyProvider, flow: Flow, answer: Answer) -> tuple[str, ...]:
    return shortfall(
        flow.scopes,
        answer.scope,
        aliases=provider.definition.scope_aliases,
        refreshable=answer.refresh_token is not None,
    )


def _alerts(
    flow: Flow, account_id: str, name: str, *, missing: tuple[str, ...], new: NewConnection
) -> tuple[Callable[[UUID], AlertSpec], ...]:
    """Return what has to be told of a consent, made once the connection's id is known."""

    def ref(connection_id: UUID) -> ConnectionRef:
        return ConnectionRef(connection_id, flow.user_id, flow.provider_id, account_id)

    told: list[Callable[[UUID], AlertSpec]] = []
    if missing:
        told.append(lambda connection: alerts.scope_shortfall(ref(connection), name, missing=missing))
    ends = new.schedule.expires_at
    if not new.refreshable and ends is not None:
        told.append(lambda connection: alerts.not_renewable(ref(connection), name, expires_at=ends))
    return tuple(told)


def _tenant(provider: ReadyProvider, metadata: Mapping[str, object]) -> str | None:
    try:
        return tenant_of(provider.definition, metadata)
    except ConfigurationError:
        # What was learned from an answer names no tenant: a grant of none, as an import without it.
        return None
