"""Do the workers keep up: read every few seconds, told once it has lasted, and taken back by itself."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Final

import structlog

from domain.capacity import Share, Standing, extrapolated, standing, total
from domain.pacing import paced_load, paced_standing
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
        self._rates: dict[str, Seen] = {}

    def watch(self) -> Standing:
        """Read the load once, and tell or take back what has lasted; returns how this reading alone stands.

        Raises:
            ServiceUnavailable: Postgres is away; nothing is known of the time until the next reading.
        """
        at, shares, workers = self._shares()
        self._watch_rates(at, shares)
        load = total(at, shares, workers=workers)
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

    def _watch_rates(self, at: datetime, shares: list[Share]) -> None:
        """Tell of providers whose own rate is too low for them, or take it back."""
        short: set[str] = set()
        kept: dict[str, Seen] = {}
        for share in shares:
            most = share.most_per_second
            if most is None:
                continue
            load = paced_load(at, share)
            found = paced_standing(share, load)
            with self._lock:
                seen = self._rates.get(share.provider_id, Seen()).then(found, now=at)
            kept[share.provider_id] = seen
            if not seen.is_over:
                short.add(share.provider_id)
            name = self._desk.display_name(share.provider_id)
            spec = alerts.rate_too_low(load, share.provider_id, name, most_per_second=most)
            if seen.is_short:
                if self._alerts.open(spec, renew=True):
                    log.warning(
                        "rate_too_low", provider=share.provider_id, overdue=load.overdue,
                        due_per_second=round(load.due_per_second, 1), most_per_second=most,
                    )  # fmt: skip
            elif found is not Standing.ON_TIME:
                self._alerts.renew(spec)
        with self._lock:
            self._rates = kept
        # Not only of what was read: a provider that is held back, or gone, has no rate to complain of.
        for alert in self._alerts.list(statuses=("open", "acknowledged"), kind=alerts.RATE_TOO_LOW):
            if alert.provider_id not in short:
                self._alerts.resolve(alert.cause)

    def _shares(self) -> tuple[datetime, list[Share], int | None]:
        """Read what the providers have that nothing holds back, as the scheduler sees them, and who works."""
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
        return at, shares, self._workers(loads)

    def _workers(self, loads: list[ProviderLoad]) -> int | None:
        """Return how many processes were seen presenting what is due, at this reading and the last ones."""
        presenting = frozenset(owner for load in loads for owner in load.presenting)
        with self._lock:
            self._presenting = [*self._presenting, presenting][-_READINGS:]
            seen = max(len(each) for each in self._presenting)
        return seen or None
