"""An operator's view of incidents, and his ruling on a wave of refusals: they are true, or a mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid5

from domain.errors import EvergrantError
from domain.incidents import Ending
from domain.token import ReauthReason, Status
from providers.app_credentials import variable_names
from services import alerts
from services.incidents import BATCH, Incidents
from services.providers import ProviderDesk
from services.scopes import Scope
from storage.groups import Group
from storage.holds import Hold, HoldStore
from storage.incidents import IncidentStore, VerdictHold
from storage.refused import RefusedStore

#: Breakers are named by their scope; their ids are made of it, so that every incident has one.
_BREAKERS: Final = UUID("5f6f6f0c-4f0e-4d7b-9a53-0f1d7f1c6a5e")


@dataclass(frozen=True, slots=True)
class Incident:
    """What is wrong with a whole provider, or one of its tenants. None: does not apply.

    Attributes:
        kind: `breaker`: calls are stopped; `verdict_hold`: death sentences are withheld.
        status: `open`, or how it ended.
        reason: Why calls are stopped.
        held_until: When the next probe may be made.
        presented: Distinct connections presented in the ten minutes before it was opened.
        refused: Of them those that were newly refused.
    """

    id: UUID
    kind: Literal["breaker", "verdict_hold"]
    status: str
    scope: str
    provider_id: str
    tenant: str | None
    opened_at: datetime
    ended_at: datetime | None
    reason: str | None = None
    held_until: datetime | None = None
    presented: int | None = None
    refused: int | None = None


class Rulings:
    """Lists incidents and takes decisions. Every method raises `ServiceUnavailable` when Postgres is away."""

    def __init__(
        self,
        store: IncidentStore,
        refused: RefusedStore,
        holds: HoldStore,
        incidents: Incidents,
        desk: ProviderDesk,
    ) -> None:
        self._store = store
        self._refused = refused
        self._holds = holds
        self._incidents = incidents
        self._desk = desk

    def incidents(self, *, ended: bool = False) -> list[Incident]:
        """Return the open incidents, breakers first; with `ended` also the verdict holds that are over."""
        breakers = [self._of_breaker(hold) for hold in self._holds.holds()]
        return breakers + [_of_hold(hold) for hold in self._store.list(ended=ended)]

    def confirm(self, incident_id: UUID, *, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Rule that the refusals are true: the refused are declared dead now; returns how many.

        For 24 hours further refusals in the scope are judged at once. A refused doubt is not condemned by
        it: it has its one honest attempt now, and is judged by that.

        Args:
            on_progress: Called with how many more were declared dead.

        Raises:
            EvergrantError: There is nothing to rule on; says why.
        """
        hold, group = self._open(incident_id)
        # First: from here on whoever is being presented is judged by its own attempt, and should this
        # process die, the refused are by their next one.
        self._end(hold, Ending.CONFIRMED)
        condemned = 0
        since = self._incidents.began(hold)
        while found := self._refused.waiting(group, since=since, limit=BATCH):
            sentences = [
                (
                    each,
                    alerts.needs_reauth(
                        each.ref,
                        self._desk.display_name(each.ref.provider_id),
                        ReauthReason.GRANT_REJECTED,
                        code="confirmed",
                    ),
                )
                for each in found
            ]
            done = self._refused.condemn(sentences, code="confirmed")
            if not done:
                break  # All of them have moved on meanwhile.
            condemned += done
            on_progress(done)
        self._incidents.bring_forward(hold, Status.IN_DOUBT)
        return condemned

    def dismiss(self, incident_id: UUID) -> int:
        """Rule that the refusals were a mistake that is over: the refused are tried again; returns how many.

        They are spread over a while and judged one by one.

        Raises:
            EvergrantError: There is nothing to rule on; says why.
        """
        hold, _ = self._open(incident_id)
        self._end(hold, Ending.DISMISSED)
        return self._incidents.bring_forward(hold, Status.ACTIVE, Status.IN_DOUBT)

    def _open(self, incident_id: UUID) -> tuple[VerdictHold, Group]:
        hold = self._store.find(incident_id)
        if hold is None:
            if any(_breaker_id(breaker.scope) == incident_id for breaker in self._holds.holds()):
                raise EvergrantError(
                    f"incident {incident_id} is a breaker: there is nothing to decide. No token was changed, "
                    "and it closes by itself with the first call that succeeds"
                )
            raise EvergrantError(
                f"no incident has the id {incident_id}; see `evergrant incidents list --all`"
            )
        self._refuse_ended(hold)
        group = self._incidents.group_of(hold)
        if group is None:
            client_id, _ = variable_names(hold.provider_id)
            raise EvergrantError(
                f"incident {incident_id} is about provider {hold.provider_id!r} with a client id or endpoint "
                f"that is not set here; run this with the workers' {client_id} and "
                "EVERGRANT_PROVIDERS_FILE. If it was changed on purpose, the incident ends by itself"
            )
        return hold, group

    def _end(self, hold: VerdictHold, ending: Ending) -> None:
        if not self._incidents.end(hold, ending):
            self._refuse_ended(self._store.find(hold.id) or hold)

    def _refuse_ended(self, hold: VerdictHold) -> None:
        if hold.ended_at is not None:
            at = hold.ended_at.strftime("%Y-%m-%d %H:%M:%SZ")
            raise EvergrantError(f"incident {hold.id} is over: it ended as {hold.ended_as} at {at}")

    def _of_breaker(self, hold: Hold) -> Incident:
        return Incident(
            id=_breaker_id(hold.scope),
            kind="breaker",
            status="open",
            scope=hold.scope,
            provider_id=hold.provider_id,
            tenant=self._tenant(hold),
            opened_at=hold.opened_at,
            ended_at=None,
            reason=hold.reason,
            held_until=hold.held_until,
        )

    def _tenant(self, hold: Hold) -> str | None:
        for scope in self._scopes():
            if scope.provider_id == hold.provider_id and (tenant := scope.tenant_of(hold.scope)) is not None:
                return tenant
        return None

    def _scopes(self) -> list[Scope]:
        return [
            scope
            for ready in self._desk.callable_providers()
            if ready.has_tenants
            for scope in (ready.scope, ready.check_scope)
        ]


def _breaker_id(scope: str) -> UUID:
    return uuid5(_BREAKERS, scope)


def _of_hold(hold: VerdictHold) -> Incident:
    return Incident(
        id=hold.id,
        kind="verdict_hold",
        status="open" if hold.ended_as is None else str(hold.ended_as),
        scope=hold.scope,
        provider_id=hold.provider_id,
        tenant=hold.tenant,
        opened_at=hold.opened_at,
        ended_at=hold.ended_at,
        presented=hold.presented,
        refused=hold.refused,
    )
