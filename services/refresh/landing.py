"""Bring a received answer into the database, whatever it takes.

The provider has already rotated when this begins: nothing here may give up, and nothing may come between
the answer and the first attempt to commit it. What Postgres does not take is staged at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from services.refresh.flights import Flights
from services.refresh.slow_commits import SlowCommits
from services.refresh.staging import Staging, named
from storage.tokens.landing import Gone, Landing, LandResult, Superseded

log = structlog.get_logger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0
#: How long a thread waits for Postgres with an answer that lies safely in the spool, before it leaves the
#: landing to the sweeper and goes on.
PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Staged:
    """The answer has not landed yet; it lies in the spool and lands when Postgres takes it."""


class Lander:
    """One per process; thread-safe."""

    def __init__(
        self,
        commit: Callable[[Landing], LandResult],
        staging: Staging,
        flights: Flights,
        slow: SlowCommits,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commit = commit
        self._staging = staging
        self._flights = flights
        self._slow = slow
        self._clock = clock
        self._sleep = sleep

    def land(self, landing: Landing, flight: int) -> LandResult | Staged:
        """Commit the answer; if Postgres does not take it, stage it, and try again for a while.

        Repeating is safe: the attempt's id is written with its commit, so a commit whose confirmation was
        lost recognises itself. Where the spool refuses, the answer is held in memory, and tried again, for as
        long as the process is left alive; a copy in Redis alone does not change that.

        Args:
            flight: Of this presentation (`Flights.flight`).
        """
        try:
            return self._known_here(landing, self._in_time(landing))
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is worth another attempt
            refusal = type(error).__name__
        # Before a word is said of it: who reads the log may be slow.
        kept = self._staging.keep(landing)
        log.error("answer_not_landed", error=refusal, **named(landing))
        if not kept.safe:
            log.critical("answer_held_in_memory", copy_in_redis=kept.shelf, **named(landing))
            with self._flights.unsafe():
                result = self._try_until(landing, lambda: self._staging.keep(landing).safe)
        else:
            give_up_at = self._clock() + PATIENCE
            result = self._try_until(landing, lambda: self._clock() >= give_up_at)
        if result is not None:
            if not self._staging.distrusted:
                self._staging.drop(landing.connection_id, landing.attempt_id)
            return result
        self._flights.staged(flight, landing.attempt_id)
        log.warning("answer_staged", **named(landing))
        return Staged()

    def _known_here(self, landing: Landing, result: LandResult) -> LandResult:
        """Stage an answer that an older copy of the database does not know; the newer one may come back."""
        if isinstance(result, Superseded | Gone) and self._staging.distrusted:
            self._staging.keep(landing)
        return result

    def _in_time(self, landing: Landing) -> LandResult:
        """Commit the answer; while that takes too long, it is staged by another thread."""
        with self._slow.watched(landing) as pending:
            result = self._commit(landing)
        if pending.staged and not self._staging.distrusted:
            self._staging.drop(landing.connection_id, landing.attempt_id)
        return result

    def _try_until(self, landing: Landing, enough: Callable[[], bool]) -> LandResult | None:
        """Land again and again until it is done, or `enough` says that it can be left; None then."""
        wait = FIRST_WAIT
        while True:
            self._sleep(wait)
            wait = min(LONGEST_WAIT, wait * 2)
            try:
                result = self._in_time(landing)
            except Exception as error:  # noqa: BLE001 - as above; what it is, the first one has said
                log.debug("answer_not_landed", error=type(error).__name__, **named(landing))
            else:
                log.info("held_answer_landed", **named(landing))
                return result
            if enough():
                return None
