"""Bring a received answer into the database, whatever it takes.

The provider has already rotated when this begins: nothing here may give up, and nothing may come between
the answer and the first attempt to commit it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from domain.errors import ServiceUnavailable
from storage.tokens.landing import Landing, LandResult
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0


class Lander:
    """One per process; thread-safe. Knows how many answers are waiting for Postgres."""

    def __init__(self, tokens: TokenStore, sleep: Callable[[float], None] = time.sleep) -> None:
        self._tokens = tokens
        self._sleep = sleep
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Answers held in memory because Postgres does not take them."""
        return self._waiting

    def land(self, landing: Landing) -> LandResult:
        """Commit the answer; while Postgres is away, hold it in memory and try again until it is back.

        Repeating is safe: the attempt's id is written with its commit, so a commit whose confirmation was
        lost recognises itself. A worker told to stop waits here for as long as it is left alive.
        """
        try:
            return self._tokens.land(landing)
        except ServiceUnavailable:
            return self._hold(landing)

    def _hold(self, landing: Landing) -> LandResult:
        with self._lock:
            self._waiting += 1
        log.error("answer_held", connection_id=str(landing.connection_id), attempt_id=str(landing.attempt_id))
        wait = FIRST_WAIT
        try:
            while True:
                self._sleep(wait)
                wait = min(LONGEST_WAIT, wait * 2)
                try:
                    result = self._tokens.land(landing)
                except ServiceUnavailable:
                    continue
                log.info("held_answer_landed", connection_id=str(landing.connection_id))
                return result
        finally:
            with self._lock:
                self._waiting -= 1
