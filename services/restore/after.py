"""After a restore: what will be done about it, and doing it once somebody has agreed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.errors import ConfigurationError
from domain.provider import GrantKind, ProviderFacts, Replay, Rotation
from domain.restore import recovery_after_restore, withheld
from domain.timing import replay_of
from domain.token import TokenState
from services import alerts
from services.providers import ProviderDesk
from services.restore.findings import Findings, find
from services.restore.marks import OutsideMarks
from storage.deployment import DeploymentStore
from storage.restoring import Acceptance, RestoringStore
from storage.staging.spool import Spool

#: Where a database has no record of its own at all, its tokens may have been spent at any time.
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fate:
    """One provider's connections, and what becomes of them.

    Attributes:
        doubtful: How many have probably been refreshed since the backup, where that matters.
        withheld: Whether the provider's tokens are withheld; if not, its connections are left alone.
        words: What is done with the doubtful ones.
    """

    provider_id: str
    living: int
    doubtful: int
    withheld: bool
    words: str


class AfterRestore:
    """What `evergrant doctor --after-restore` does. Raises `ServiceUnavailable`."""

    def __init__(
        self,
        deployment: DeploymentStore,
        store: RestoringStore,
        outside: OutsideMarks,
        desk: ProviderDesk,
        *,
        spool: Spool,
    ) -> None:
        self._deployment = deployment
        self._store = store
        self._outside = outside
        self._desk = desk
        self._spool = spool

    def look(self) -> Findings:
        """As `findings.find`."""
        return find(self._deployment, self._outside)

    def fates(self, findings: Findings) -> list[Fate]:
        """Say what will become of each provider's connections; nothing is changed."""
        fates = []
        for exposed in self._store.exposed(until=findings.until):
            facts = self._facts(exposed.provider_id)
            rotates = withheld(facts)
            doubtful = exposed.doubtful if rotates else 0
            fates.append(Fate(exposed.provider_id, exposed.living, doubtful, rotates, _words(facts)))
        return fates

    def staged(self) -> int:
        """Return how many received answers are known to wait: in this machine's spool, or elsewhere."""
        try:
            here = len(self._spool.attempts())
        except OSError:
            here = 0
        return max(here, self._deployment.staged())

    def accept(self, findings: Findings, fates: list[Fate]) -> Mapping[str, int]:
        """Do what was said; returns how many connections were put in doubt, by provider.

        Raises:
            ConfigurationError: The database is another one by now; nothing was changed.
        """
        facts = {fate.provider_id: self._facts(fate.provider_id) for fate in fates if fate.withheld}

        def recover_at(token: TokenState, now: datetime) -> datetime:
            return recovery_after_restore(token, facts[token.provider_id], now=now)

        acceptance = Acceptance(
            identity=findings.present.identity,
            beyond=findings.beyond,
            until=findings.until,
            since=findings.last_at or _EVER,
        )
        done, present = self._store.accept(acceptance, list(facts), recover_at, cause=alerts.RESTORED_CAUSE)
        self._outside.write(present.mark)
        return done

    def _facts(self, provider_id: str) -> ProviderFacts:
        try:
            return self._desk.catalogue.get(provider_id).facts
        except ConfigurationError:
            # Nothing is known of it, so the worst is assumed; it is not presented before it is defined.
            return ProviderFacts(provider_id, GrantKind.REFRESH_TOKEN, Rotation.SINGLE_USE, timedelta())


def _words(facts: ProviderFacts) -> str:
    if not withheld(facts):
        return "nothing: presenting an old token does no harm"
    if replay_of(facts) is Replay.WITHIN_WINDOW:
        return "in doubt; one attempt each, within the replay window if it is open, else as late as possible"
    return "in doubt; one attempt each, as late as the access token still serves"
