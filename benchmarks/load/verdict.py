"""What drains say: medians, the first bottleneck, and what would be the next one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

#: So large a part of all cores in use says that there are no more.
_FULL: Final = 0.9
_FIGURES: Final = (
    "per_second", "wal_bytes", "wal_records", "wal_full_pages", "wal_fsyncs", "wal_fsync_mean_ms", "commits",
    "redis_commands", "redis_command_us",
)  # fmt: skip


def compared(rows: Sequence[Mapping[str, Any]], *, by: Sequence[str]) -> list[dict[str, Any]]:
    """Return the medians of the rows that agree in `by`, each with its first bottleneck."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(repr([row[name] for name in by]), []).append(row)
    return [_medians(group, by) for group in groups.values()]


def _medians(group: Sequence[Mapping[str, Any]], by: Sequence[str]) -> dict[str, Any]:
    first = group[0]
    found: dict[str, Any] = {name: first[name] for name in by}
    if "exchange_ms" in first:
        found["exchange_ms"] = {
            server: round(median(row["exchange_ms"][server] for row in group), 2)
            for server in first["exchange_ms"]
        }
    for name in _FIGURES:
        values = [row[name] for row in group if row.get(name) is not None]
        found[name] = round(median(values), 3) if values else None
    found["cpu_ms"] = {
        part: round(median(row["cpu_ms"][part] for row in group), 3) for part in first["cpu_ms"]
    }
    events = dict.fromkeys(event for row in group for event in row["waits"]["in"])
    found["waits"] = {
        event: round(median(row["waits"]["in"].get(event, 0.0) for row in group), 3) for event in events
    }
    found["machine_busy"] = round(median(row["waits"]["machine_busy"] for row in group), 3)
    found["cores_used"] = round(sum(found["cpu_ms"].values()) * found["per_second"] / 1000, 2)
    found["first_bottleneck"] = first_bottleneck(found)
    return found


def first_bottleneck(found: Mapping[str, Any]) -> str:
    """Name what the rate was bound by."""
    if found["machine_busy"] >= _FULL:
        largest = max(found["cpu_ms"], key=found["cpu_ms"].__getitem__)
        return f"processor cores; most of their time went to: {largest}"
    workers = found.get("workers", 1)
    if found["cpu_ms"]["workers"] * found["per_second"] / 1000 >= _FULL * workers:
        return "the interpreter's lock of each worker process"
    waits = {event: share for event, share in found["waits"].items() if event != "running"}
    if waits and max(waits.values()) >= 1.0:
        return f"Postgres, {max(waits, key=waits.__getitem__)}"
    return "waiting: round trips of a worker's main loop and threads"


def next_bounds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many refreshes a second each part could carry alone, by the costs of the fastest fleet.

    Postgres' share is of one core: it uses as many as it is given. Redis carries out commands in one thread.
    The flushes of the WAL follow each other; each takes all commits along that wait for it by then.
    """
    best = max(rows, key=lambda row: row["per_second"])
    cpu = best["cpu_ms"]
    whole = sum(spent for part, spent in cpu.items() if part != "endpoint")
    fsync = best["wal_fsync_mean_ms"]
    return {
        "of_fleet": {name: best[name] for name in ("workers", "threads")},
        "cores_of_this_machine": os.cpu_count(),
        "refreshes_a_second_of_one_core_with_everything": round(1000 / whole),
        "refreshes_a_second_of_one_worker_core": round(1000 / cpu["workers"]),
        "refreshes_a_second_of_one_postgres_core": round(1000 / cpu["postgres"]),
        "refreshes_a_second_of_one_redis": round(1000 / cpu["redis"]),
        "commits_a_second_flushed_one_by_one": round(1000 / fsync) if fsync else None,
        "commits_of_one_flush": round(best["commits"] / best["wal_fsyncs"], 2)
        if best["wal_fsyncs"]
        else None,
    }
