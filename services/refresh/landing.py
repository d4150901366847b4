"""Bring a received answer into the database, whatever it takes.

The provider has already rotated when this begins: nothing here may give up, and nothing may come between
the answer and the first attempt to commit it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from domain.errors import ServiceUnavailable
from storage.tokens.landing import Landing, LandResult
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0
#: How long an answer is held that Postgres refuses for a reason other than being away.
ODD_PATIENCE: Final = timedelta(minutes=10)


class Lander:
    """One per process; thread-safe. Knows how many answers are waiting for Postgres."""

    def __init__(
        self,
        tokens: TokenStore,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Answers held in memory because Postgres does not take them."""
        return self._waiting

    def land(self, landing: Landing) -> LandResult:
        """Commit the answer; while Postgres does not take it, hold it in memory and try again.

        Repeating is safe: the attempt's id is written with its commit, so a commit whose confirmation was
        lost recognises itself. While Postgres is away this goes on for as long as the process is left alive;
        an error of any other kind is tried again for `ODD_PATIENCE`, in which an operator may mend a
        privilege or a schema, and then raised.
        """
        try:
            return self._tokens.land(landing)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is worth another attempt
            return self._hold(landing, error)

    def _hold(self, landing: Landing, error: Exception) -> LandResult:
        with self._lock:
            self._waiting += 1
        words = {"connection_id": str(landing.connection_id), "attempt_id": str(landing.attempt_id)}
        log.error("answer_held", error=type(error).__name__, **words)
        give_up_at = self._clock() + ODD_PATIENCE.total_seconds()
        wait = FIRST_WAIT
        try:
            while True:
                self._sleep(wait)
                wait = min(LONGEST_WAIT, wait * 2)
                try:
                    result = self._tokens.land(landing)
                except ServiceUnavailable:
                    continue
                except Exception as again:
                    if self._clock() >= give_up_at:
                        raise
                    log.error("answer_held", error=type(again).__name__, **words)
                    continue
                log.info("held_answer_landed", **words)
                return result
        finally:
            with self._lock:
                self._waiting -= 1
