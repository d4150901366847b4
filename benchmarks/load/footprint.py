"""What a worker and its servers hold at one moment: memory, threads, files, sockets, sessions, keys."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import psutil
import psycopg
import redis

_MEGABYTE: Final = 1024 * 1024
_SESSIONS: Final = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'evergrant-%'"
_NAMES: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d+"), "<n>"),
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is held. Memory is in MB.

    Attributes:
        rss: Resident memory of the worker; `uss`: what of it would be free if it ended.
        files: Open descriptors of the worker that are no sockets.
        sessions: In Postgres, of all our processes; `sessions_uss`: the memory of their backends.
        spool: Files in the spool folder.
    """

    rss: float
    uss: float
    threads: int
    files: int
    sockets: int
    sessions: int
    sessions_uss: float
    redis_used: float
    redis_keys: int
    redis_clients: int
    spool: int


class Scales:
    """Weighs one worker, and what it has in the servers."""

    def __init__(self, worker: int, postgres_url: str, redis_client: redis.Redis, spool: Path) -> None:
        self._worker = psutil.Process(worker)
        self._postgres = psycopg.connect(postgres_url, autocommit=True)
        self._redis = redis_client
        self._spool = spool

    def weigh(self) -> Footprint:
        """Look at everything once."""
        memory = self._worker.memory_full_info()
        with self._worker.oneshot():
            threads, sockets = self._worker.num_threads(), len(self._worker.net_connections())
            files = self._worker.num_fds() - sockets
        sessions = [int(row[0]) for row in self._postgres.execute(_SESSIONS)]
        in_memory = cast("dict[str, int]", self._redis.info("memory"))
        return Footprint(
            rss=memory.rss / _MEGABYTE,
            uss=memory.uss / _MEGABYTE,
            threads=threads,
            files=files,
            sockets=sockets,
            sessions=len(sessions),
            sessions_uss=sum(map(_uss, sessions)),
            redis_used=in_memory["used_memory"] / _MEGABYTE,
            redis_keys=self._redis.dbsize(),
            redis_clients=cast("dict[str, int]", self._redis.info("clients"))["connected_clients"],
            spool=sum(1 for _ in self._spool.iterdir()) if self._spool.is_dir() else 0,
        )

    def keys(self) -> dict[str, int]:
        """Return how many keys Redis has of each form; ids and numbers are left out of their names."""
        return key_forms([name.decode("utf-8", "replace") for name in self._redis.scan_iter(count=1000)])

    def close(self) -> None:
        """Close the connection to Postgres."""
        self._postgres.close()


def key_forms(names: list[str]) -> dict[str, int]:
    """Count keys by their form: `unacked_mutex`, `evergrant:staged:<uuid>`."""
    forms: Counter[str] = Counter()
    for name in names:
        form = name
        for pattern, stands_for in _NAMES:
            form = pattern.sub(stands_for, form)
        forms[form] += 1
    return dict(sorted(forms.items()))


def _uss(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_full_info().uss) / _MEGABYTE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
