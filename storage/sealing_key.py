"""The key that seals at this moment, and what is still on its way under the one before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class SealingKey:
    """Names the key of the ring that seals. Thread-safe; may change while others seal."""

    def __init__(self, key_id: str) -> None:
        self._id = key_id
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"SealingKey({self._id!r})"

    @property
    def id(self) -> str:
        """The id of the key that seals now."""
        return self._id

    def use(self, key_id: str) -> None:
        """Let another key seal whatever is begun from now on."""
        with self._lock:
            self._id = key_id

    @contextmanager
    def held(self) -> Iterator[str]:
        """Give the key's id, and count what is done with it as under way until the block ends."""
        with self._lock:
            key_id = self._id
            self._held[key_id] += 1
        try:
            yield key_id
        finally:
            with self._lock:
                self._held[key_id] -= 1
                if self._held[key_id] == 0:
                    del self._held[key_id]

    def settled(self) -> bool:
        """Say whether everything that was begun under another key has ended."""
        with self._lock:
            return set(self._held) <= {self._id}
