"""Commits that take too long: a Postgres that is frozen neither takes an answer nor refuses it.

The thread that waits for such a commit can do nothing; another one stages its answer meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from services.refresh.flights import Flights
from services.refresh.staging import Staging, named
from storage.tokens.landing import Landing

log = structlog.get_logger(__name__)

#: Seconds after which a commit that has not come back is not waited for alone. An ordinary one takes
#: milliseconds; on a busy machine a few are staged for nothing, which costs a file each.
TOO_LONG: Final = 0.5
#: Seconds between two looks at what is under way.
EVERY: Final = 0.2
#: Seconds until a spool that refused is asked again.
ASK_AGAIN: Final = 2.0


@dataclass(slots=True)
class Pending:
    """A commit that is under way.

    Attributes:
        staged: Its answer was staged because it took too long, here or in Redis.
        safe: The spool has it.
        copied: Redis has it.
        over: It has come back; nothing is staged any more.
        held: Holds what says that memory alone has the answer.
        again: When a spool that refused is asked again, on our clock.
    """

    landing: Landing
    began: float
    staged: bool = False
    safe: bool = False
    copied: bool = False
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: ExitStack | None = None
    again: float = 0.0


class SlowCommits:
    """One per process; thread-safe. Its thread starts with the first commit and ends with `close`."""

    def __init__(
        self, staging: Staging, flights: Flights, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._staging = staging
        self._flights = flights
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watched(self, landing: Landing) -> Iterator[Pending]:
        """Stage the answer if the block, which commits it, takes too long.

        Yields:
            What tells after the block whether that was done; nothing is staged any more then.
        """
        pending = Pending(landing, self._clock())
        with self._lock:
            self._pending[id(pending)] = pending
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="slow-commits", daemon=True)
                self._thread.start()
        try:
            yield pending
        finally:
            with self._lock:
                del self._pending[id(pending)]
            with pending.lock:
                pending.over = True
                _let_go(pending)

    def close(self) -> None:
        """End the thread. Called once, after the last commit."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._look()
            except Exception:
                # Nobody would start another thread, and no slow commit would be staged any more.
                log.exception("slow_commit_not_staged")

    def _look(self) -> None:
        late = self._clock() - TOO_LONG
        with self._lock:
            slow = [pending for pending in self._pending.values() if pending.began <= late]
        # All into the spool first: a frozen Redis costs a second each.
        for pending in slow:
            self._stage(pending)
        for pending in slow:
            if not self._copy(pending):
                break

    def _stage(self, pending: Pending) -> None:
        with pending.lock:
            if pending.over or pending.safe or self._clock() < pending.again:
                return
            pending.again = self._clock() + ASK_AGAIN
            pending.safe = self._staging.keep_here(pending.landing)
            if pending.safe:
                _let_go(pending)
            elif pending.held is None:
                pending.held = ExitStack()
                pending.held.enter_context(self._flights.unsafe())
                log.critical("answer_held_in_memory", **named(pending.landing))
            if not pending.staged:
                pending.staged = True
                log.warning("commit_slow", staged=pending.safe, **named(pending.landing))

    def _copy(self, pending: Pending) -> bool:
        """Put the second copy into Redis; False where Redis does not take it."""
        with pending.lock:
            if not pending.over and not pending.copied:
                pending.copied = self._staging.keep_there(pending.landing)
                return pending.copied
        return True


def _let_go(pending: Pending) -> None:
    if pending.held is not None:
        pending.held.close()
        pending.held = None
