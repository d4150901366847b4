"""Do the workers keep up: read every few seconds, told once it has lasted, and taken back by itself."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from domain.capacity import Load, Share, Standing, extrapolated, standing, total
from domain.shortage import Seen
from services import alerts
from services.admission import Admission
from services.providers import ProviderDesk, ReadyProvider
from services.restore import RestoreGuard
from services.scheduling import held_tenants
from storage.alerts import AlertStore
from storage.load import LoadStore, ProviderLoad

log = structlog.get_logger(__name__)

#: Leases that are seen at one reading are of the workers that present at that moment; some are between two
#: tokens. So many readings back are counted as well.
_READINGS: Final = 3


class CapacityWatch:
    """One per process; thread-safe. Any number of them may read at once: a cause has one alert.

    What has lasted is known from this process' own readings. Where several control workers share beat's
    ticks, each sees its part of them, and tells and takes back as much later.
    """

    def __init__(
        self,
        store: LoadStore,
        alert_store: AlertStore,
        desk: ProviderDesk,
        admission: Admission,
        guard: RestoreGuard,
    ) -> None:
        self._store = store
        self._alerts = alert_store
        self._desk = desk
        self._admission = admission
        self._guard = guard
        self._lock = threading.Lock()
        self._seen = Seen()
        self._presenting: list[frozenset[str]] = []

    def watch(self) -> Standing:
        """Read the load once, and tell or take back what has lasted; returns how this reading alone stands.

        Raises:
            ServiceUnavailable: Postgres is away; nothing is known of the time until the next reading.
        """
        load = self._load()
        found = standing(load)
        with self._lock:
            self._seen = self._seen.then(found, now=load.at)
            seen = self._seen
        if seen.is_short:
            if self._alerts.open(alerts.capacity(load), renew=True):
                log.warning(
                    "capacity_short", overdue=load.overdue, late_seconds=load.lateness.total_seconds(),
                    due_per_second=round(load.due_per_second, 1),
                    done_per_second=round(load.done_per_second, 1), workers=load.workers,
                )  # fmt: skip
        elif seen.is_over:
            if self._alerts.resolve(alerts.CAPACITY_CAUSE):
                log.info("capacity_suffices", done_per_second=round(load.done_per_second, 1))
        elif found is not Standing.ON_TIME:
            self._alerts.renew(alerts.capacity(load))
        return found

    def _load(self) -> Load:
        """Read the load of the providers that nothing holds back, as the scheduler sees them."""
        held = self._admission.held()
        free: dict[str, ReadyProvider] = {}
        tenants: dict[tuple[str, str | None], int] = {}
        for provider in self._desk.callable_providers():
            scope = provider.scope
            whole = scope.whole if provider.has_tenants else scope.key
            if self._guard.withholds(provider.facts) or (whole is not None and whole in held):
                continue
            if provider.has_tenants:
                tenants |= held_tenants(provider, scope, held)
            free[provider.definition.id] = provider
        at, loads = self._store.read(list(free), held=tenants)
        shares = [
            Share(
                provider_id=load.provider_id,
                due_per_second=load.due_per_second,
                done_per_second=load.done_per_second,
                overdue=extrapolated(
                    load.overdue, exact=load.exact, oldest=load.oldest, newest=load.newest, now=at
                ),
                exact=load.exact,
                lateness=at - (load.oldest or at),
                expired=load.expired,
                reserve=load.reserve,
                most_per_second=free[load.provider_id].scope.max_per_second,
            )
            for load in loads
        ]
        return total(at, shares, workers=self._workers(loads))

    def _workers(self, loads: list[ProviderLoad]) -> int | None:
        """Return how many processes were seen presenting what is due, at this reading and the last ones."""
        presenting = frozenset(owner for load in loads for owner in load.presenting)
        with self._lock:
            self._presenting = [*self._presenting, presenting][-_READINGS:]
            seen = max(len(each) for each in self._presenting)
        return seen or None
