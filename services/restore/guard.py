"""The restore guard: is this still the database whose tokens we have been rotating?

Every process looks for itself: before its first presentation, about once a second after that, and on every
new connection to Postgres, because a server that was put back to an older state has cut all of them. What one
process finds is written into the database, so that all of them agree.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from domain.provider import ProviderFacts
from domain.restore import (
    Adopt,
    Guarded,
    Mark,
    Present,
    Restored,
    Trusted,
    Unsettled,
    higher,
    judge,
    withheld,
)
from services import alerts
from services.restore.marks import OutsideMarks
from storage.deployment import DeploymentStore

log = structlog.get_logger(__name__)

#: How old a look may be on which a refresh token is presented, in seconds. The watch looks twice as often.
FRESH: Final = 2.0
#: What was decided elsewhere between a look and its write is looked at again, this often.
_MOST_LOOKS: Final = 3


class RestoreGuard:
    """One per process; thread-safe."""

    def __init__(
        self,
        store: DeploymentStore,
        outside: OutsideMarks,
        *,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._outside = outside
        self._owner = owner
        self._clock = clock
        self._looking = threading.Lock()
        self._lock = threading.Lock()
        self._watching_connections = False
        self._looked_at = -math.inf
        self._closed = False
        #: How often a new connection has found a database that is not to be trusted.
        self._alarms = 0
        #: The highest that this process has seen itself, of a database that it trusted.
        self._own: Mark | None = None

    @property
    def closed(self) -> bool:
        """Whether refresh tokens of rotating providers are withheld, by what is known this moment."""
        return self._closed

    @property
    def own(self) -> Mark | None:
        """The highest mark of a database that this process trusted; None: it has trusted none yet."""
        return self._own

    def withholds(self, facts: ProviderFacts) -> bool:
        """Say whether the provider's refresh tokens must not be presented now, on a look that is fresh.

        Raises:
            ServiceUnavailable: Postgres is away, so nobody knows.
        """
        if not withheld(facts):
            return False
        if self._clock() - self._looked_at >= FRESH:
            self.look(within=FRESH)
        return self._closed

    def look(self, *, within: float = 0.0) -> None:
        """Look at the database and at the marks outside, and act on what is found.

        Args:
            within: Another thread's look that is younger than this, in seconds, will do.

        Raises:
            ServiceUnavailable: Postgres is away.
            ConfigurationError: The database role may not ask which server this is.
        """
        with self._looking:
            if self._clock() - self._looked_at < within:
                return
            if not self._watching_connections:
                self._store.watch_connections(self._new_connection)
                self._watching_connections = True
            for _ in range(_MOST_LOOKS):
                began = self._clock()
                alarms = self._alarms
                if self._look_once():
                    with self._lock:
                        if alarms == self._alarms or self._closed:
                            self._looked_at = began
                    return
            # It changes under every look: nothing is presented until one holds.
            self._closed = True

    def _look_once(self) -> bool:
        """Look; False where the database was written to, so that it must be looked at again."""
        alarms = self._alarms
        known = self._marks()
        present = self._store.observe()
        match judge(present, known):
            case Trusted():
                with self._lock:
                    if alarms != self._alarms:
                        # A new connection has found another database than the one that we have looked at.
                        return False
                    self._own = higher(self._own, present.mark)
                    self._closed = False
            case Unsettled():
                self._closed = True
            case Guarded():
                self._closed = True
                self._add_what_we_know(present, known)
            case Adopt(line):
                self._store.adopt(present, line=line)
                log.info("database_adopted", identity=str(present.identity), line=line)
                return False
            case Restored(signs):
                self._closed = True
                found = found_of(present, signs, higher_of(known), by=self._owner)
                if self._store.guard(found, alerts.restored(found)):
                    log.critical("restored_database", signs=[str(sign) for sign in signs])
                return False
        return True

    def _marks(self) -> tuple[Mark, ...]:
        """Return all marks that are known; before the database is looked at.

        Read after it, they would be ahead of it by its own next commit.
        """
        outside = self._outside.read().values()
        own = self._own
        return tuple(outside) if own is None else (*outside, own)

    def _new_connection(self, observe: Callable[[], Present]) -> None:
        """Close at once on what a new connection finds; the next look writes it down and tells it."""
        known = self._marks()
        if isinstance(judge(observe(), known), Restored | Guarded | Unsettled):
            with self._lock:
                self._closed = True
                self._alarms += 1
                self._looked_at = -math.inf

    def _add_what_we_know(self, present: Present, known: tuple[Mark, ...]) -> None:
        """Tell the others of a mark that only this machine has, so that the answer goes beyond it."""
        highest, told = higher_of(known), mark_of(present.found)
        if highest is not None and (told is None or highest.line > told.line):
            self._store.add_mark(highest.to_json())


def higher_of(marks: tuple[Mark, ...]) -> Mark | None:
    """Return the highest of the marks; None of none."""
    highest: Mark | None = None
    for mark in marks:
        highest = higher(highest, mark)
    return highest


def found_of(present: Present, signs: tuple[str, ...], mark: Mark | None, *, by: str) -> dict[str, object]:
    """Return what was found, as JSON values: it is kept in the database until somebody answers."""
    return {
        "signs": [str(sign) for sign in signs],
        "by": by,
        "accepted": None if present.accepted is None else str(present.accepted),
        "identity": str(present.identity),
        "line": present.line,
        "last_at": None if present.last_at is None else present.last_at.isoformat(),
        "found_at": present.now.isoformat(),
        "mark": None if mark is None else mark.to_json(),
    }


def mark_of(found: Mapping[str, object]) -> Mark | None:
    """Return the highest mark that was known when the guard closed, or since."""
    text = found.get("mark")
    return Mark.from_json(text) if isinstance(text, str) else None
