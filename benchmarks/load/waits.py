"""What the sessions of workers wait for in Postgres, and how busy the machine is meanwhile: sampled."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

import psutil
import psycopg

_EVERY_SECONDS: Final = 0.05
#: `active` sessions alone; one without a wait event computes, or waits for a core.
_WAITS: Final = """
    SELECT coalesce(wait_event_type || ':' || wait_event, 'running'), count(*)
      FROM pg_stat_activity
     WHERE application_name LIKE 'evergrant-%' AND state = 'active'
     GROUP BY 1
"""


class Waits:
    """Samples in a thread of its own while the block runs."""

    def __init__(self, postgres_url: str) -> None:
        self._postgres = psycopg.connect(postgres_url, autocommit=True)
        self._found: Counter[str] = Counter()
        self._looks = 0
        self._busy = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waits", daemon=True)

    def __enter__(self) -> Self:
        psutil.cpu_percent()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._busy = psutil.cpu_percent() / 100
        self._over.set()
        self._thread.join()
        self._postgres.close()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            for event, count in self._postgres.execute(_WAITS):
                self._found[event] += count
            self._looks += 1

    def as_json(self) -> dict[str, Any]:
        """Return how many sessions were active on average, in what, and which part of all cores was used."""
        looks = max(1, self._looks)
        return {
            "active_sessions": round(sum(self._found.values()) / looks, 2),
            "in": {event: round(count / looks, 3) for event, count in self._found.most_common(8)},
            "machine_busy": round(self._busy, 3),
        }
