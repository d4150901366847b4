"""The forecast: tells of grants that will die before they do, each once, and takes back what was wrong.

It only tells. No grant is ended, put off or given up for a date that has come: its provider judges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.lifetimes import End, EndOf, Life, forecast, has_outlived, near_limit, nearest
from domain.provider import GrantKind, ProviderFacts, Rotation
from services import alerts
from services.providers import ProviderDesk
from storage.alerts import WILL_DIE, Alert, AlertStore
from storage.grant_counts import GrantCounts
from storage.lives import MOST, LifeStore, Lived, Wanted

log = structlog.get_logger(__name__)

#: So many connections of one provider that die of the same cause have an alert each; more are one incident.
MOST_ALONE: Final = 5
_UNRESOLVED: Final = ("open", "acknowledged")
_MOST_ALERTS: Final = 10_000

_Dying = tuple[Lived, End]


class Forecast:
    """One per process; thread-safe. Any number of them may look at once: a cause has one alert."""

    def __init__(
        self,
        lives: LifeStore,
        counts: GrantCounts,
        alert_store: AlertStore,
        desk: ProviderDesk,
        *,
        ahead: timedelta,
    ) -> None:
        """Take the stores.

        Args:
            ahead: How long before a grant's end people want to hear of it.
        """
        self._lives = lives
        self._counts = counts
        self._alerts = alert_store
        self._desk = desk
        self._ahead = ahead
        self._facts = {definition.id: definition.facts for definition in desk.catalogue}

    def look(self) -> int:
        """Tell what will die, and take back what will not any more; returns how many will.

        Raises:
            ServiceUnavailable: Postgres is away; the next look does what this one could not.
        """
        dying, crowded = self._dying()
        self._tell(dying, crowded)
        self._look_at_limits()
        return sum(map(len, dying.values()))

    def of(self, provider_id: str, life: Life) -> End | None:
        """Return the end that a connection goes towards; None: none is known."""
        facts = self._facts.get(provider_id)
        return None if facts is None else nearest(facts, life)

    def _dying(self) -> tuple[dict[tuple[str, EndOf], list[_Dying]], set[str]]:
        """Return who will die, and the providers of which more than were looked at may."""
        wanted = [Wanted(provider_id, _whole(facts)) for provider_id, facts in self._facts.items()]
        lives = self._lives.lives(self._lives.candidates(wanted, ahead=self._ahead))
        found: dict[tuple[str, EndOf], list[_Dying]] = defaultdict(list)
        for lived, end in self._judged(lives):
            found[lived.ref.provider_id, end.of].append((lived, end))
        # Those whose end is far come last. Only behind as many as this there may be others of whom to tell.
        before = Counter(
            lived.ref.provider_id
            for _, lived in lives
            if (facts := self._facts.get(lived.ref.provider_id)) and has_outlived(facts, lived.life)
        )
        for (provider_id, _), group in found.items():
            before[provider_id] += len(group)
            group.sort(key=lambda one: one[1].at)
        return found, {provider_id for provider_id, number in before.items() if number >= MOST}

    def _judged(self, lives: Iterable[tuple[datetime, Lived]]) -> list[_Dying]:
        judged: list[_Dying] = []
        for now, lived in lives:
            facts = self._facts.get(lived.ref.provider_id)
            end = None if facts is None else forecast(facts, lived.life, now=now, ahead=self._ahead)
            if end is not None:
                judged.append((lived, end))
        return judged

    def _tell(self, dying: Mapping[tuple[str, EndOf], list[_Dying]], crowded: set[str]) -> None:
        now = self._lives.now()
        unresolved = self._alerts.list(statuses=_UNRESOLVED, kind=WILL_DIE, limit=_MOST_ALERTS)
        open_causes = {alert.cause for alert in unresolved}
        grouped: set[str] = set()
        told: set[UUID] = set()
        for (provider_id, of), group in dying.items():
            cause, name = alerts.will_die_cause(provider_id, of), self._desk.display_name(provider_id)
            # Once many were told of as one they stay so until the last is gone: nobody hears of them anew.
            if cause in open_causes or len(group) > MOST_ALONE:
                grouped.add(cause)
                exact = provider_id not in crowded
                if self._alerts.open(alerts.many_will_die(group, name, now=now, exact=exact), renew=True):
                    log.warning("grants_will_die", provider=provider_id, of=str(of), connections=len(group))
            for lived, end in group:
                spec = alerts.will_die(lived, end, name, now=now)
                if spec.cause in open_causes:
                    self._alerts.renew(spec)
                elif cause not in grouped and self._alerts.open(spec):
                    log.warning(
                        "grant_will_die", connection_id=str(lived.ref.connection_id), provider=provider_id,
                        of=str(of), dies_at=end.at.isoformat(),
                    )  # fmt: skip
                told.add(lived.ref.connection_id)
        self._take_back(unresolved, grouped, told)

    def _take_back(self, unresolved: Sequence[Alert], grouped: set[str], told: set[UUID]) -> None:
        """Resolve the alerts whose connections will not die any more, as far as anybody can say."""
        alone = {each.connection_id for each in unresolved if each.connection_id is not None}
        # A look finds a bounded number. Whoever was told of and is not among them is looked at again.
        still = {lived.ref.connection_id for lived, _ in self._judged(self._lives.lives(list(alone - told)))}
        for alert in unresolved:
            over = (
                alert.cause not in grouped
                if alert.connection_id is None
                else alert.connection_id not in told | still
            )
            if over and self._alerts.resolve(alert.cause):
                log.info("grant_will_not_die", cause=alert.cause)

    def _look_at_limits(self) -> None:
        """Tell of the accounts that have nearly as many grants as their provider keeps of one client."""
        kind = alerts.GRANTS_NEAR_LIMIT
        unresolved = self._alerts.list(statuses=_UNRESOLVED, kind=kind, limit=_MOST_ALERTS)
        near: set[str] = set()
        seen: set[str] = set()
        for provider in self._desk.callable_providers():
            limit, provider_id = provider.facts.grant_limit, provider.definition.id
            if limit is None or provider.scope.key in seen:
                continue
            # Definitions that share an app there share its limit.
            seen.add(provider.scope.key)
            sharing = [each.definition.id for each in self._desk.sharing(provider.scope)]
            watched = [str(each.detail["account_id"]) for each in unresolved if each.provider_id in sharing]
            for counted in self._counts.near(sharing, near=near_limit(limit), accounts=watched):
                spec = alerts.grants_near_limit(counted, limit, provider_id, provider.definition.display_name)
                near.add(spec.cause)
                if self._alerts.open(spec, renew=True):
                    log.warning("grants_near_limit", provider=provider_id, connections=counted.connections)
        for alert in unresolved:
            if alert.cause not in near:
                self._alerts.resolve(alert.cause)


def _whole(facts: ProviderFacts) -> timedelta | None:
    """Return how long a grant lives from its beginning, whatever is done; None: for ever, or nobody knows."""
    lives = [facts.grant_lifetime]
    if facts.grant is GrantKind.REFRESH_TOKEN and facts.rotation is Rotation.NONE:
        lives.append(facts.refresh_token_lifetime)
    return min((life for life in lives if life is not None), default=None)
