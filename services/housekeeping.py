"""Housekeeping: what no single token's task would notice."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from services import alerts
from services.codes import MESSAGES
from services.events import EventDigests
from services.providers import NotReady, ProviderDesk, ReadyProvider
from services.scopes import Scope
from services.staged import StagedWatch
from storage.alerts import AlertStore
from storage.engine import Engine
from storage.events import EventStore
from storage.flows import FlowStore
from storage.holds import HoldStore
from storage.inspection import providers_in_use, tenant_in_use
from storage.revocations import RevocationStore

log = structlog.get_logger(__name__)

#: How long it is remembered which pushed messages were taken; providers deliver one again for two days.
EVENTS_KEPT: Final = timedelta(days=30)


class Housekeeping:
    """Tells of connections that wait because this deployment cannot call their provider."""

    def __init__(
        self,
        engine: Engine,
        alert_store: AlertStore,
        holds: HoldStore,
        revocations: RevocationStore,
        desk: ProviderDesk,
        staged: StagedWatch,
        flows: FlowStore,
        events: EventStore,
        digests: EventDigests,
    ) -> None:
        self._events = events
        self._digests = digests
        self._engine = engine
        self._holds = holds
        self._revocations = revocations
        self._alerts = alert_store
        self._desk = desk
        self._staged = staged
        self._flows = flows

    def run(self) -> None:
        """Tell what cannot be called, and end what is over.

        Raises:
            ServiceUnavailable: Postgres is away.
        """
        self._staged.run()
        self._flows.clean()
        self._events.forget(kept=EVENTS_KEPT)
        self._digests.sweep()
        waiting: set[str] = set()
        in_use = providers_in_use(self._engine)
        self._close_abandoned_holds(in_use)
        for provider_id in sorted(in_use):
            ready = self._desk.ready(provider_id)
            if isinstance(ready, NotReady):
                waiting.add(provider_id)
                spec = alerts.not_configured(provider_id, MESSAGES[ready.code])
                self._alerts.open(spec)
                log.warning("provider_not_callable", provider=provider_id, code=ready.code)
        # Not only of what is in use: a provider's last connection may be gone.
        for alert in self._alerts.list(statuses=("open", "acknowledged"), kind=alerts.NOT_CONFIGURED):
            if alert.provider_id not in waiting:
                self._alerts.resolve(alert.cause)

    def _close_abandoned_holds(self, in_use: frozenset[str]) -> None:
        """Close the breakers that no call will ever close, and resolve their alerts.

        A breaker belongs to a client id at an endpoint. When an operator mends either, the calls go on under
        another one; and where nothing is scheduled any more, no call is made at all.
        """
        living: list[tuple[ReadyProvider, Scope]] = []
        # Revocations may wait when nothing else of their provider is left.
        revoking = self._revocations.waiting()
        for ready in self._desk.callable_providers():
            if ready.definition.id in in_use:
                living += [(ready, ready.scope), (ready, ready.check_scope)]
            if ready.definition.id in revoking:
                living.append((ready, ready.revoke_scope))
        for hold in self._holds.holds():
            if not any(self._called(ready, scope, hold.scope) for ready, scope in living):
                cause = alerts.provider_cause(hold.scope)
                self._holds.close_hold(hold.scope, called_at=hold.now, cause=cause)
                log.info("abandoned_hold_closed", scope=hold.scope, provider=hold.provider_id)

    def _called(self, ready: ReadyProvider, scope: Scope, key: str) -> bool:
        """Say whether a provider's connections are called in the scope of this key."""
        if key in scope.keys:
            return True
        tenant = scope.tenant_of(key) if ready.has_tenants else None
        return tenant is not None and tenant_in_use(self._engine, ready.definition.id, tenant)
