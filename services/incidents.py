"""Verdict holds: notice a wave of refusals, withhold death sentences while it lasts, and see its end.

Asked where a grant was refused, and by a tick of its own; a refresh that succeeds never comes here.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import structlog

from domain.backoff import backoff
from domain.incidents import LEAST_REFUSED, QUIET, WINDOW, Ending, is_over, is_wave, may_open, spread
from domain.token import Status
from services import alerts
from services.providers import ProviderDesk
from services.scopes import Scope
from storage.groups import Group
from storage.incidents import Census, IncidentStore, Standing, VerdictHold
from storage.refused import RefusedStore

log = structlog.get_logger(__name__)

#: A count that was worth the look into the record is believed this long, in seconds.
CENSUS_KEPT: Final = 2.0
#: Rows written in one transaction.
BATCH: Final = 500


@dataclass(slots=True)
class _Counted:
    """A census of this process, and how many refusals it has seen since."""

    census: Census
    at: float
    since: int = 0


class Incidents:
    """One per process; thread-safe. Every method raises `ServiceUnavailable` when Postgres is away."""

    def __init__(
        self,
        store: IncidentStore,
        refused: RefusedStore,
        desk: ProviderDesk,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._refused = refused
        self._desk = desk
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._counted: dict[str, _Counted] = {}

    def withholds(self, scope: Scope) -> bool:
        """Say whether nobody in the scope is declared dead for now. Never from memory: lives hang on it."""
        return self._store.standing(scope.key).open is not None

    def sentenced(self, scope: Scope) -> bool:
        """Look again after a death sentence was written; True if a hold is open, which voids it.

        A hold may have been opened by somebody else between our look and our writing. Whoever opens one
        reprieves what he can see after it is committed; whoever sentences looks for one after his sentence
        is. So one of the two sees the other's.
        """
        standing = self._store.standing(scope.key)
        group = self._group(scope)
        hold = standing.open
        if hold is None:
            hold = self._opened(scope, group, standing, newly=1)
        if hold is None:
            return False
        self._reprieve(group, hold, standing.ended_at)
        return True

    def watch(self) -> None:
        """Open what no refusal opened, finish reprieves that were cut off, and end what is over."""
        for hold in self._store.list():
            scope = self.scope_of(hold)
            if scope is None:
                self.end(hold, Ending.ABANDONED)
                continue
            group = self._group(scope)
            self._reprieve(group, hold, self._store.standing(hold.scope).ended_at)
            if is_over(self._store.calm(group, hold, window=WINDOW, quiet=QUIET)) and self.end(
                hold, Ending.RECOVERED
            ):
                self.bring_forward(hold, Status.IN_DOUBT)
        for scope in self._suspect():
            standing = self._store.standing(scope.key)
            if standing.open is None:
                group = self._group(scope)
                opened = self._opened(scope, group, standing, newly=0)
                if opened is not None:
                    self._reprieve(group, opened, standing.ended_at)

    def end(self, hold: VerdictHold, ending: Ending) -> bool:
        """End a hold and resolve its alert; False if somebody else has ended it."""
        ended = self._store.end(hold, ending, cause=alerts.wave_cause(hold.scope))
        if ended:
            log.info("verdict_hold_ended", scope=hold.scope, provider=hold.provider_id, ended_as=str(ending))
        return ended

    def bring_forward(self, hold: VerdictHold, *statuses: Status) -> int:
        """Have the refused of an ended hold tried again soon, spread; returns how many they are."""
        scope = self.scope_of(hold)
        if scope is None:
            return 0
        group, since = self._group(scope), self.began(hold)
        number = self._refused.count(group, since=since, statuses=statuses)
        self._refused.bring_forward(group, since=since, spread=spread(number), statuses=statuses)
        return number

    def began(self, hold: VerdictHold) -> datetime:
        """Return the instant after which who was refused belongs to the hold's wave."""
        return hold.opened_at - WINDOW

    def scope_of(self, hold: VerdictHold) -> Scope | None:
        """Return the scope that a hold belongs to; None if nothing is called in it any more."""
        for provider in self._desk.callable_providers():
            scope = provider.scope_of(hold.tenant)
            if scope.key == hold.scope:
                return scope
        return None

    def group_of(self, hold: VerdictHold) -> Group | None:
        """Return whose grants the hold is about; None if nothing is called in its scope any more."""
        scope = self.scope_of(hold)
        return None if scope is None else self._group(scope)

    def _group(self, scope: Scope) -> Group:
        sharing = self._desk.sharing(scope)
        return Group(
            scope.key,
            scope.provider_id,
            whole=tuple(each.definition.id for each in sharing if not each.has_tenants),
            tenanted=tuple(each.definition.id for each in sharing if each.has_tenants),
            tenant=scope.tenant,
        )

    def _suspect(self) -> list[Scope]:
        """Return the scopes in which enough connections were refused lately to make a wave."""
        providers = {ready.definition.id: ready for ready in self._desk.callable_providers()}
        refused: Counter[str] = Counter()
        scopes: dict[str, Scope] = {}
        for found in self._store.recently_refused(list(providers), window=WINDOW):
            scope = providers[found.provider_id].scope_of(found.tenant)
            scopes.setdefault(scope.key, scope)
            refused[scope.key] += found.refused
        return [scopes[key] for key, count in refused.items() if count >= LEAST_REFUSED]

    def _opened(self, scope: Scope, group: Group, standing: Standing, *, newly: int) -> VerdictHold | None:
        """Open a hold if there is a wave; return the open one, whoever opened it, or None."""
        if not may_open(standing.ended_as, standing.ended_at, now=standing.now):
            return None
        census = self._census(group, newly=newly)
        if census is None or not is_wave(refused=census.refused, presented=census.presented):
            return None
        hold_id = uuid4()
        alert = alerts.wave(scope, hold_id, refused=census.refused, presented=census.presented)
        if self._store.open(hold_id, group, census, alert):
            log.warning(
                "verdict_hold_opened", scope=scope.key, provider=scope.provider_id, incident=str(hold_id),
                refused=census.refused, presented=census.presented,
            )  # fmt: skip
        return self._store.standing(scope.key).open

    def _census(self, group: Group, *, newly: int) -> Census | None:
        """Count, unless a count of a moment ago and what we have seen since say that there is no wave.

        Few refusals are counted every time, which costs a look into an index of refused tokens alone. More
        of them are held against the record of the last ten minutes, and that is not read for each.
        """
        now = self._clock()
        with self._lock:
            known = self._counted.get(group.scope)
            if known is not None and now - known.at < CENSUS_KEPT:
                known.since += newly
                census = known.census
                if not is_wave(refused=census.refused + known.since, presented=census.presented):
                    return None
        census = self._store.census(group, window=WINDOW, worth=LEAST_REFUSED)
        with self._lock:
            # Scopes come and go with the tenants: a count that nobody believes any more is not kept either.
            self._counted = {key: each for key, each in self._counted.items() if now - each.at < CENSUS_KEPT}
            if census.refused >= LEAST_REFUSED:
                self._counted[group.scope] = _Counted(census, now)
            else:
                self._counted.pop(group.scope, None)
        return census

    def _reprieve(self, group: Group, hold: VerdictHold, last_ended_at: datetime | None) -> None:
        """Take back the sentences of the hold's wave that were passed before it opened."""
        since = self.began(hold) if last_ended_at is None else max(self.began(hold), last_ended_at)
        reprieved = 0
        while found := self._refused.sentenced(group, since=since, limit=BATCH):
            schedule = {
                each.ref.connection_id: (each.version, each.now + self._wait(each.failures, each.lifetime))
                for each in found
            }
            done = self._refused.reprieve(hold.id, schedule)
            if not done:
                break  # Others did at the same moment, or the hold has ended.
            reprieved += done
        if reprieved:
            log.warning("sentences_taken_back", scope=group.scope, connections=reprieved)

    def _wait(self, failures: int, lifetime: timedelta | None) -> timedelta:
        return backoff(max(1, failures), lifetime=lifetime, jitter=self._jitter())
