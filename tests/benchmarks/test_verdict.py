"""What drains by several workers say of the first bottleneck and of the next."""

from __future__ import annotations

from typing import Any

from benchmarks.load.verdict import compared, first_bottleneck, next_bounds

CPU = {"workers": 2.0, "postgres": 0.5, "redis": 0.25, "endpoint": 0.05}


def row(**other: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "per_second": 400.0,
        "cpu_ms": CPU,
        "commits": 2.0,
        "wal_fsyncs": 0.5,
        "wal_fsync_mean_ms": 0.8,
        "waits": {"in": {"running": 0.5, "IO:WalSync": 0.4}, "machine_busy": 0.97},
        **other,
    }


def bound_of(**other: Any) -> str:
    return str(compared([row(**other)], by=("workers",))[0]["first_bottleneck"])


def test_medians_are_of_rounds_that_agree() -> None:
    """Three rounds of two workers and one of four are two rows."""
    found = compared([row(), row(per_second=500.0), row(per_second=100.0), row(workers=4)], by=("workers",))

    assert [(one["workers"], one["per_second"]) for one in found] == [(2, 400.0), (4, 400.0)]
    assert found[0]["cores_used"] == 1.12


def test_the_cores_are_the_bound_where_none_is_left() -> None:
    """And the part is named that most of their time went to."""
    assert bound_of() == "processor cores; most of their time went to: workers"


def test_an_interpreter_that_is_never_idle_is_the_bound_of_its_process() -> None:
    """With cores to spare, one worker that uses a whole one cannot use more."""
    quiet = {"in": {"running": 0.5}, "machine_busy": 0.6}
    assert (
        bound_of(workers=1, per_second=480.0, waits=quiet) == "the interpreter's lock of each worker process"
    )


def test_a_wait_that_always_holds_a_session_is_the_bound() -> None:
    """With cores and interpreters to spare, what sessions wait for is named; else the round trips."""
    flushing = {"in": {"running": 3.0, "IO:WalSync": 1.2, "LWLock:WALWrite": 4.0}, "machine_busy": 0.5}
    assert bound_of(waits=flushing) == "Postgres, LWLock:WALWrite"

    idle = {"in": {"running": 3.0}, "machine_busy": 0.5}
    assert first_bottleneck(compared([row(waits=idle)], by=("workers",))[0]).startswith("waiting")


def test_what_is_next_follows_from_the_costs_of_the_fastest() -> None:
    """A thousand milliseconds through what each part used for one refresh."""
    rows = [row(threads=8), row(workers=4, threads=4, per_second=100.0)]
    found = next_bounds(compared(rows, by=("workers", "threads")))

    assert found["of_fleet"] == {"workers": 2, "threads": 8}
    assert found["refreshes_a_second_of_one_worker_core"] == 500
    assert found["refreshes_a_second_of_one_redis"] == 4000
    assert (found["commits_a_second_flushed_one_by_one"], found["commits_of_one_flush"]) == (1250, 4.0)
