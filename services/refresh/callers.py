"""How many callers may wait in a worker at once, so that some of its threads are always free.

A caller of a slow provider keeps his thread for seconds. Without a bound, enough of them would keep every
thread for minutes from the callers of all other providers. Beyond the bound a caller looks again for a second
at most, and is then told to come back. Callers who want the same of the same token take one place together
(`services.refresh.together`).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Callers:
    """Places for callers who wait for a provider; a quarter of the threads is never given away."""

    def __init__(self, threads: int) -> None:
        self._most = max(1, threads - max(1, threads // 4))
        self._most_of_one = max(1, threads // 2)
        self._lock = threading.Lock()
        self._all = 0
        self._of: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def place(self, provider_id: str) -> Iterator[bool]:
        """Hold a place while the block runs; yields False where there is none."""
        with self._lock:
            free = self._all < self._most and self._of[provider_id] < self._most_of_one
            if free:
                self._all += 1
                self._of[provider_id] += 1
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._all -= 1
                    self._of[provider_id] -= 1
