"""What refreshes cost Postgres and Redis, by the servers' own counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import psycopg
import redis

#: Commands that only the benchmark gives.
_OURS: Final = frozenset({"llen", "info", "flushdb", "dbsize", "scan"})
_COUNTERS: Final = """
    SELECT pg_current_wal_insert_lsn() - '0/0', w.wal_records, w.wal_fpi, io.fsyncs, io.fsync_time, d.commits,
           coalesce((SELECT max(id) FROM activity), 0)
      FROM pg_stat_wal w,
           (SELECT coalesce(sum(fsyncs), 0) AS fsyncs, coalesce(sum(fsync_time), 0) AS fsync_time
              FROM pg_stat_io WHERE object = 'wal') AS io,
           (SELECT xact_commit AS commits FROM pg_stat_database WHERE datname = current_database()) AS d
"""
_REFRESHED: Final = "SELECT count(*) FROM activity WHERE id > %s AND kind = 'refreshed'"
_SIZES: Final = """
    SELECT c.relname, pg_relation_size(c.oid), t.reltuples, t.relname
      FROM pg_class t
      LEFT JOIN pg_index i ON i.indrelid = t.oid
      JOIN pg_class c ON c.oid = t.oid OR c.oid = i.indexrelid
     WHERE t.oid = ANY (ARRAY['tokens'::regclass, 'connections', 'activity'])
     GROUP BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters at one moment. Times are in ms; `redis` is command → (calls, microseconds)."""

    wal_bytes: int
    wal_records: int
    wal_full_pages: int
    wal_fsyncs: int
    wal_fsync_ms: float
    commits: int
    last_line: int
    redis: dict[str, tuple[int, int]]


class Ledger:
    """Reads the counters. Backends report theirs when they end, so look while no worker runs."""

    def __init__(self, postgres_url: str, redis_client: redis.Redis) -> None:
        self._url = postgres_url
        self._redis = redis_client

    def look(self) -> Counted:
        """Read all counters."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute(_COUNTERS).fetchone()
        if row is None:
            raise AssertionError("unreachable: one row of counters")
        stats = cast("dict[str, dict[str, int]]", self._redis.info("commandstats"))
        commands = {name.removeprefix("cmdstat_"): (one["calls"], one["usec"]) for name, one in stats.items()}
        lsn, records, pages, fsyncs, fsync_ms, commits, line = row
        return Counted(
            int(lsn),
            int(records),
            int(pages),
            int(fsyncs),
            float(fsync_ms),
            int(commits),
            int(line),
            commands,
        )

    def each(self, before: Counted, after: Counted) -> dict[str, Any]:
        """Return what one refresh cost between two looks.

        Raises:
            SystemExit: Nothing was refreshed.
        """
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute(_REFRESHED, (before.last_line,)).fetchone()
        refreshed = 0 if row is None else int(row[0])
        if not refreshed:
            raise SystemExit("nothing was refreshed")
        fsyncs = after.wal_fsyncs - before.wal_fsyncs
        return {
            "refreshed": refreshed,
            "wal_bytes": round((after.wal_bytes - before.wal_bytes) / refreshed),
            "wal_records": round((after.wal_records - before.wal_records) / refreshed, 2),
            "wal_full_pages": round((after.wal_full_pages - before.wal_full_pages) / refreshed, 2),
            "wal_fsyncs": round(fsyncs / refreshed, 3),
            "wal_fsync_mean_ms": round((after.wal_fsync_ms - before.wal_fsync_ms) / fsyncs, 3)
            if fsyncs
            else None,
            "commits": round((after.commits - before.commits) / refreshed, 2),
            **redis_of(before, after, refreshed),
        }

    def sizes(self) -> dict[str, dict[str, Any]]:
        """Return how large each table and index is, and how many bytes that is for a row of its table."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("ANALYZE tokens, connections, activity")
            rows = connection.execute(_SIZES).fetchall()
        return {
            name: {
                "of": table,
                "megabytes": round(size / 1024**2, 1),
                "bytes_a_row": round(size / max(1.0, tuples)),
            }
            for name, size, tuples, table in sorted(rows)
        }


def redis_of(before: Counted, after: Counted, refreshed: int) -> dict[str, Any]:
    """Return how many commands a refresh cost Redis, and the microseconds inside of them."""
    spent = {
        name: (calls - before.redis.get(name, (0, 0))[0], usec - before.redis.get(name, (0, 0))[1])
        for name, (calls, usec) in after.redis.items()
        if name not in _OURS
    }
    by = {name: round(calls / refreshed, 2) for name, (calls, _) in spent.items()}
    return {
        "redis_commands": round(sum(calls for calls, _ in spent.values()) / refreshed, 2),
        "redis_command_us": round(sum(usec for _, usec in spent.values()) / refreshed, 1),
        "redis_by_command": dict(sorted(by.items(), key=lambda one: -one[1])[:10]),
    }
