"""The watch: a thread that looks at the database once a second and keeps the marks outside of it high."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from domain.errors import ServiceUnavailable
from domain.restore import Mark
from services.restore.guard import RestoreGuard
from services.restore.marks import OutsideMarks

log = structlog.get_logger(__name__)

#: Seconds between two looks.
EVERY: Final = 1.0
#: A mark is renewed after this many seconds although nothing has changed: its time tells until when nothing
#: was missing.
RENEW: Final = 15.0


class Watch:
    """Of a process that presents tokens; the command line never writes a mark."""

    def __init__(
        self, guard: RestoreGuard, outside: OutsideMarks, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._guard = guard
        self._outside = outside
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._written: Mark | None = None
        self._written_at = 0.0

    def start(self) -> None:
        """Look now, before anything is claimed, and go on looking until `stop`.

        Raises:
            ServiceUnavailable, ConfigurationError: As `RestoreGuard.look`; nothing goes on then.
        """
        self._guard.look()
        self._mark()
        self._thread = threading.Thread(target=self._run, name="restore-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look and mark once more, and end. Harmless where it was never started."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._once()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self._once()

    def _once(self) -> None:
        try:
            self._guard.look()
            self._mark()
        except ServiceUnavailable:
            return  # While Postgres is away nothing is presented either.
        except Exception:
            # Whatever it is, the thread must outlive it: without it the marks would silently grow old.
            log.exception("watch_failed")

    def _mark(self) -> None:
        """Write the mark where it has changed; never that of a database that is not trusted."""
        mark = self._guard.own
        if mark is None or self._guard.closed:
            return
        old = self._written
        same = old is not None and (old.identity, old.line, old.lsn) == (mark.identity, mark.line, mark.lsn)
        if same and self._clock() - self._written_at < RENEW:
            return
        if self._outside.write(mark):
            self._written, self._written_at = mark, self._clock()
