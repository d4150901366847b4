"""What the harness itself did, by the machine's clock. Threads share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kill:
    """A process that was ended by SIGKILL.

    Attributes:
        sort: ``worker``, ``beat``, ``flower``, ``supervisor``, ``postgres``, ``redis``.
        target: Its name, the same over all its lives.
        why: The fault that it belongs to.
    """

    at: float
    sort: str
    target: str
    why: str


@dataclass(frozen=True)
class Span:
    """From when until when something was stopped or away. Unix time in seconds."""

    target: str
    since: float
    until: float
    why: str

    def overlap(self, since: float, until: float) -> float:
        """Return for how many seconds of that time it was so."""
        return max(0.0, min(self.until, until) - max(self.since, since))


@dataclass
class Deed:
    """A fault of the schedule as it was carried out; `skipped` says why it was not."""

    planned: float
    began: float
    kind: str
    did: dict[str, object] = field(default_factory=dict)
    skipped: str | None = None


@dataclass
class Record:
    """Everything the harness did. `stops` are of processes, `outages` of servers."""

    kills: list[Kill] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def kill(self, sort: str, target: str, why: str) -> None:
        """Note a kill that is about to be made."""
        with self._lock:
            self.kills.append(Kill(time.time(), sort, target, why))

    def deed(self, deed: Deed) -> None:
        """Note a fault as carried out."""
        with self._lock:
            self.deeds.append(deed)

    @contextmanager
    def stopped(self, target: str, why: str) -> Iterator[None]:
        """Note that a process is stopped meanwhile."""
        since = time.time()
        try:
            yield
        finally:
            with self._lock:
                self.stops.append(Span(target, since, time.time(), why))

    @contextmanager
    def away(self, server: str, why: str) -> Iterator[None]:
        """Note that a server is away meanwhile."""
        since = time.time()
        try:
            yield
        finally:
            with self._lock:
                self.outages.append(Span(server, since, time.time(), why))
