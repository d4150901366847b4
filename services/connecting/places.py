"""Places to wait in: how many may wait for a provider at once.

Whoever waits holds a thread of the process. Where a provider hangs, those who wait for it must leave threads
for everybody else.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: People who wait for the same provider in one process; the next one is told at once to come back.
PLACES: Final = 16


class Places:
    """Counts who waits for what. Thread-safe."""

    def __init__(self, most: int = PLACES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def one(self, what: str) -> Iterator[bool]:
        """Take a place until the `with` block ends; False: all are taken."""
        with self._lock:
            taken = self._waiting[what] < self._most
            self._waiting[what] += taken
        try:
            yield taken
        finally:
            with self._lock:
                self._waiting[what] -= taken
