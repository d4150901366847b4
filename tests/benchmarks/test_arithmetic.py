"""From measured costs to the tables of the scaling page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.arithmetic import BEGIN, END, costs_of, insert, render

WAL = {"off": {"first_touched": 9000, "touched_before": 1500}}
RESULT: dict[str, Any] = {
    "command": "python -m benchmarks.scale_out",
    "conditions": {
        "at": "2026-11-24T12:00:00+00:00",
        "cores": 2,
        "load_average": [0.5, 0.4, 0.3],
        "load_average_at_the_end": [4.0, 2.0, 1.0],
    },
    "processes": [
        {
            "workers": 2,
            "threads": 8,
            "per_second": 400.0,
            "cpu_ms": {"workers": 2.88, "postgres": 0.5, "redis": 0.144, "endpoint": 0.05},
            "commits": 2.0,
            "wal_fsyncs": 1.0,
            "wal_fsync_mean_ms": 0.7,
            "waits": {"running": 0.5, "IO:WalSync": 1.5},
            "redis_commands": 10.0,
            "first_bottleneck": "processor cores",
        }
    ],
    "wal": [
        {"compression": how, "pages": pages, "wal_bytes": size, "wal_full_pages": 1.5}
        for how, each in WAL.items()
        for pages, size in each.items()
    ],
    "distance": [
        {
            "far": ["redis"],
            "round_trip_ms": 5.0,
            "threads": 8,
            "exchange_ms": {"redis": 5.4},
            "per_second": 40.0,
        }
    ],
    "sizes": {
        "tokens": {"of": "tokens", "megabytes": 1.0, "bytes_a_row": 800},
        "pk_tokens": {"of": "tokens", "megabytes": 1.0, "bytes_a_row": 50},
        "connections": {"of": "connections", "megabytes": 1.0, "bytes_a_row": 150},
        "activity": {"of": "activity", "megabytes": 1.0, "bytes_a_row": 200},
    },
}


def row_of(name: str) -> list[str]:
    (line,) = (line for line in render(RESULT).splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_costs_are_those_of_two_workers() -> None:
    """Sizes are summed over a table's indexes; a session is busy for the sessions of a moment by the rate."""
    costs = costs_of(RESULT)

    assert (costs.token_bytes, costs.line_bytes) == (1000, 200)
    assert (costs.wal_warm, costs.wal_cold) == (1500, 9000)
    assert costs.session_ms == 5.0


def test_what_a_million_tokens_ask_for_follows_from_the_costs() -> None:
    """347 refreshes a second, each with its costs; ten and a hundred times that in the next columns."""
    assert row_of("refreshes a second") == ["347", "3,472", "34,722"]
    assert row_of("cores of workers") == ["1.0", "10.0", "100.0"]
    assert row_of("Redis: share of its one thread") == ["5 %", "50 %", "500 %"]
    assert row_of("WAL, MB/s, warm to cold") == ["0.5 to 3.1", "5.2 to 31.2", "52.1 to 312.5"]
    assert row_of("tokens stored, GB") == ["1.0", "10.0", "100.0"]
    assert row_of("sessions of Postgres that are busy") == ["2", "17", "174"]


def test_tables_are_put_between_the_markers(tmp_path: Path) -> None:
    """What stood between them goes, what stands around them stays; a page without them is refused."""
    page = tmp_path / "scaling.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")

    insert(page, "new")

    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="markers"):
        insert(page, "new")
