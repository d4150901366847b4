"""Each process' part in agreeing which key seals."""

from __future__ import annotations

import structlog

from storage.elections import Agreed, Elections, lacks_agreed
from storage.keys import KeyRing, id_of
from storage.sealing_key import SealingKey

log = structlog.get_logger(__name__)


class KeyElection:
    """Keeps a process' sealing key at the one that all processes agree on. `look` belongs to one thread.

    A process whose ring begins with another key proposes that one at each look; it is elected as soon as
    every living process holds it. Until then it only opens. Between an election and the next look of a
    process, that process seals with the former key, which everybody still holds.
    """

    def __init__(
        self, elections: Elections, ring: KeyRing, sealing: SealingKey, *, process_id: str | None
    ) -> None:
        """Take part.

        Args:
            process_id: As it is registered; None: not registered, because it seals in transactions of
                `agreed_sealer` alone, or not at all.
        """
        self._elections = elections
        self._ring = ring
        self._mine = ring.fingerprints[0]
        self._sealing = sealing
        self._process_id = process_id
        self._settled = False
        self._told: str | None = None

    def join(self) -> None:
        """Adopt the agreed key. Called when the process is wired, and again right after it has registered.

        The second call closes the gap: an election that did not see this process is seen by it.

        Raises:
            ConfigurationError: The ring lacks the agreed key; the process must not start.
            ServiceUnavailable: Postgres does not answer.
        """
        agreed = self._elections.join(self._mine).key
        if agreed is None:
            raise AssertionError("unreachable: joining agrees on a key where there was none")
        if agreed not in self._ring.fingerprints:
            raise lacks_agreed(agreed)
        self._sealing.use(id_of(agreed))

    def look(self) -> None:
        """Propose this ring's first key if it does not seal yet, adopt the agreed one, and say so.

        Called every few seconds, and never between staging an answer and reporting it: that this process has
        left its former key is said one look later, so that a report of what it has staged lies in between.

        Raises:
            ServiceUnavailable: Postgres does not answer; the key stays the one that it was.
        """
        agreed = self._proposed(self._elections.read())
        if agreed.key is not None:
            self._adopt(agreed.key)
        settled = self._sealing.settled()
        if self._settled and settled and self._process_id is not None:
            self._elections.say(self._process_id, self._sealing.id)
        self._settled = settled

    def _proposed(self, agreed: Agreed) -> Agreed:
        mine = self._mine
        if agreed.key == mine or mine in agreed.former:
            return agreed
        if agreed.key is not None and agreed.key not in self._ring.fingerprints:
            return agreed  # Who was left behind does not lead.
        if lacking := self._elections.lacking(mine):
            self._tell(f"{mine} waits", "key_not_elected", key=mine, lacking=[each.id for each in lacking])
            return agreed
        election = self._elections.elect(mine, former_too=False)
        if election.agreed.key == mine:
            self._tell(f"{mine} elected", "key_elected", key=mine, former=agreed.key)
        return election.agreed

    def _adopt(self, key: str) -> None:
        if key not in self._ring.fingerprints:
            # This process was taken for dead when the key was elected. Its former key seals on: everybody
            # else holds that one, and what arrived must be kept. `keys rotate` waits for it and names it.
            self._tell(f"{key} lacks", "key_missing", key=key, sealing_with=self._sealing.id)
            return
        if id_of(key) != self._sealing.id:
            self._sealing.use(id_of(key))
            self._settled = False

    def _tell(self, what: str, event: str, **words: object) -> None:
        """Log it once, not at every look."""
        if self._told != what:
            self._told = what
            (log.error if event == "key_missing" else log.warning)(event, **words)
