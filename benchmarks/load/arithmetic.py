"""From the measured costs of one refresh to a million, ten and a hundred million tokens: tables of a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- scaling: begin (written by `make bench ONLY=scale_out`) -->"
END: Final = "<!-- scaling: end -->"
SIZES: Final = (1_000_000, 10_000_000, 100_000_000)
#: An hourly token is refreshed at 75 to 85 % of its life.
EVERY_SECONDS: Final = 0.8 * 3600
#: The mean of the log-normal that stands for real endpoints: p50 200 ms, p99 1 s.
CALL_SECONDS: Final = 0.2 * math.exp((math.log(5) / 2.3263) ** 2 / 2)
#: How much of what there is may be in use, so that a queue stays short.
USED: Final = 0.7
#: Threads of a bulk worker; it holds two connections more than that.
THREADS: Final = 16

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one refresh. Processor time is in ms, sizes in bytes.

    Attributes:
        wal_warm: WAL where the pages were touched since the checkpoint; `wal_cold`: right after one.
        session_ms: For how long a session of Postgres is busy, waiting for the WAL included.
        token_bytes: Of a stored token with its connection and all indexes; `line_bytes`: of its activity.
    """

    fleet: str
    worker_ms: float
    postgres_ms: float
    redis_ms: float
    commits: float
    flushes: float
    flush_ms: float
    wal_warm: float
    wal_cold: float
    cold_pages: float
    session_ms: float
    redis_commands: float
    token_bytes: float
    line_bytes: float


def costs_of(result: Result) -> Costs:
    """Take the costs out of a result of `benchmarks.scale_out`: of its two workers, and of its WAL."""
    fleet = next(row for row in result["processes"] if row["workers"] == 2)
    warm, cold = (
        next(row for row in result["wal"] if row["compression"] == "off" and row["pages"] == pages)
        for pages in ("touched_before", "first_touched")
    )
    stored: dict[str, float] = {}
    for size in result["sizes"].values():
        stored[size["of"]] = stored.get(size["of"], 0.0) + size["bytes_a_row"]
    return Costs(
        fleet=f"{fleet['workers']} processes of {fleet['threads']} threads",
        worker_ms=fleet["cpu_ms"]["workers"],
        postgres_ms=fleet["cpu_ms"]["postgres"],
        redis_ms=fleet["cpu_ms"]["redis"],
        commits=fleet["commits"],
        flushes=fleet["wal_fsyncs"],
        flush_ms=fleet["wal_fsync_mean_ms"] or 0.0,
        wal_warm=warm["wal_bytes"],
        wal_cold=cold["wal_bytes"],
        cold_pages=cold["wal_full_pages"],
        session_ms=sum(fleet["waits"].values()) / fleet["per_second"] * 1000,
        redis_commands=fleet["redis_commands"],
        token_bytes=stored["tokens"] + stored["connections"],
        line_bytes=stored["activity"],
    )


def render(result: Result) -> str:
    """Return the tables and the line that tells where they come from."""
    costs = costs_of(result)
    about = result["conditions"]
    made = (
        f"Measured {about['at'][:10]} on {about['cores']} cores, load average {about['load_average'][0]:g}"
        f" before and {about['load_average_at_the_end'][0]:g} at the end\n"
        f"(`{result['command']}`,\nall of it in `benchmarks/results/scale_out.json`)."
    )
    return "\n".join(
        [made, "", *_measured(costs), "", *_fleets(result), "", *_far(result), "", *_sums(costs)]
    )


def _measured(costs: Costs) -> list[str]:
    rows = [
        ("processor time of workers", f"{costs.worker_ms:.2f} ms"),
        ("… of Postgres", f"{costs.postgres_ms:.2f} ms"),
        ("… of Redis", f"{costs.redis_ms:.2f} ms"),
        ("transactions", f"{costs.commits:.2f}"),
        ("flushes of the WAL", f"{costs.flushes:.2f}, of {costs.flush_ms:.2f} ms each"),
        ("WAL, pages touched since the checkpoint", f"{costs.wal_warm:,.0f} B"),
        ("WAL, right after a checkpoint", f"{costs.wal_cold:,.0f} B ({costs.cold_pages:.1f} whole pages)"),
        ("a session of Postgres is busy for", f"{costs.session_ms:.1f} ms"),
        ("Redis commands", f"{costs.redis_commands:.1f}"),
        ("stored: a token with its connection and indexes", f"{costs.token_bytes:,.0f} B"),
        ("stored: a refresh's line of activity with indexes", f"{costs.line_bytes:,.0f} B"),
    ]
    head = [f"| cost of one refresh ({costs.fleet}) | |", "| --- | ---: |"]
    return head + [f"| {name} | {value} |" for name, value in rows]


def _fleets(result: Result) -> list[str]:
    lines = [
        "| workers | threads of each | refreshes/s | ms of workers | first bottleneck |",
        "| ---: | ---: | ---: | ---: | --- |",
    ]
    return lines + [
        f"| {row['workers']} | {row['threads']} | {row['per_second']:,.0f} | {row['cpu_ms']['workers']:.2f} "
        f"| {row['first_bottleneck']} |"
        for row in result["processes"]
    ]


def _far(result: Result) -> list[str]:
    lines = [
        "| far away from one worker | a question and its answer take | threads | refreshes/s |",
        "| --- | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {' and '.join(row['far'])}, {row['round_trip_ms']:g} ms "
        f"| {', '.join(f'{taken:g} ms' for taken in row['exchange_ms'].values())} "
        f"| {row['threads']} | {row['per_second']:,.0f} |"
        for row in result["distance"]
    ]


def _sums(costs: Costs) -> list[str]:
    lines = [
        "| hourly tokens | " + " | ".join(f"{tokens // 1_000_000} million" for tokens in SIZES) + " |",
        "| --- |" + " ---: |" * len(SIZES),
    ]
    return lines + [
        f"| {name} | " + " | ".join(said(costs, tokens / EVERY_SECONDS, tokens) for tokens in SIZES) + " |"
        for name, said in _ROWS.items()
    ]


def _threads(rate: float) -> int:
    return math.ceil(rate * CALL_SECONDS / USED)


def _connections(rate: float) -> int:
    processes = math.ceil(_threads(rate) / THREADS)
    return processes * (THREADS + 2)


def _range(low: float, high: float) -> str:
    return f"{low:,.1f} to {high:,.1f}"


#: What is said of costs, refreshes a second, and tokens.
_ROWS: Final[Mapping[str, Callable[[Costs, float, int], str]]] = {
    "refreshes a second": lambda _, rate, __: f"{rate:,.0f}",
    "cores of workers": lambda c, rate, _: f"{rate * c.worker_ms / 1000:,.1f}",
    "cores of Postgres": lambda c, rate, _: f"{rate * c.postgres_ms / 1000:,.1f}",
    "Redis: share of its one thread": lambda c, rate, _: f"{rate * c.redis_ms / 10:,.0f} %",
    "Redis: commands a second": lambda c, rate, _: f"{rate * c.redis_commands:,.0f}",
    "transactions a second": lambda c, rate, _: f"{rate * c.commits:,.0f}",
    "commits that one flush must take along": lambda c, rate, _: (
        f"{max(1.0, rate * c.commits * c.flush_ms / 1000 / USED):,.1f}"
    ),
    "WAL, MB/s, warm to cold": lambda c, rate, _: _range(rate * c.wal_warm / 1e6, rate * c.wal_cold / 1e6),
    "tokens stored, GB": lambda c, _, tokens: f"{tokens * c.token_bytes / 1e9:,.1f}",
    "lines of activity a day, million": lambda _, rate, __: f"{rate * 86400 / 1e6:,.0f}",
    "activity a day, GB": lambda c, rate, _: f"{rate * 86400 * c.line_bytes / 1e9:,.0f}",
    "sessions of Postgres that are busy": lambda c, rate, _: f"{rate * c.session_ms / 1000:,.0f}",
    "threads that wait for endpoints of 0.25 s": lambda _, rate, __: f"{_threads(rate):,}",
    "connections to Postgres without a pooler": lambda _, rate, __: f"{_connections(rate):,}",
}


def insert(page: Path, tables: str) -> None:
    """Put the tables between the page's markers.

    Raises:
        ValueError: The page has not both markers, in this order.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers of the scaling tables")
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}", encoding="utf-8")
