"""What the benchmarks of callers and of isolation make of what they measured."""

from __future__ import annotations

from typing import Any

from benchmarks import isolation, on_demand


def row(what: str, how: str, load: str, p95: float, **more: Any) -> dict[str, Any]:
    return {"what": what, "how": how, "load": load, "p95_ms": p95, "p99_ms": p95, "outcomes": {}, **more}


def test_callers_are_judged_by_the_same_round() -> None:
    """The ratio of each round is of that round; unanswered and deferred callers are counted."""
    rows = [
        *(row("crowd", how, "idle", 250.0, presentations=1) for how in ("service", "celery")),
        *(row("crowd_fresh", how, "idle", 50.0) for how in ("service", "celery")),
        *(row("paced", how, "idle", p95) for how in ("service", "celery") for p95 in (200.0, 400.0)),
        *(row("paced", how, "bulk", p95) for how in ("service", "celery") for p95 in (220.0, 400.0)),
        *(row("reading", "service", load, 1.0) for load in ("idle", "bulk")),
    ]
    rows[0]["outcomes"] = {"fresh": 98, "none": 1, "deferred": 1}

    found = on_demand.compared(rows)

    assert found["presentations"] == 1
    assert found["unanswered"] == 2
    assert found["paced_p95_ratio"] == {"service": 1.05, "celery": 1.05}
    assert found["allowed_p95_ms"] == 300.0


def test_the_worst_crowd_counts() -> None:
    """Two presentations for one stale token are not outweighed by rounds with one."""
    rows = [
        *(
            row("crowd", how, "idle", 250.0, presentations=times)
            for how in ("service", "celery")
            for times in (1, 2)
        ),
        *(row("crowd_fresh", how, "idle", 50.0) for how in ("service", "celery")),
        *(row("paced", how, load, 1.0) for how in ("service", "celery") for load in ("idle", "bulk")),
        *(row("reading", "service", load, 1.0) for load in ("idle", "bulk")),
    ]

    assert on_demand.compared(rows)["presentations"] == 2


def round_of(
    trouble: str | None, others: float, before: float | None = None, most: int = 1
) -> dict[str, Any]:
    return {
        "trouble": trouble,
        "others_per_second": others,
        "others_per_second_before_the_breaker": before,
        "most_threads_of_the_bad_one": most,
        "mean_threads_of_the_bad_one": most / 2,
    }


def test_trouble_is_compared_with_the_rounds_beside_it() -> None:
    """A machine that slows down in the course of a run blames nobody."""
    found = isolation.compared(
        [
            round_of(None, 100.0),
            round_of("hangs", 81.0, before=72.0, most=8),
            round_of(None, 80.0),
            round_of("limits", 60.0),
            round_of(None, 40.0),
        ]
    )

    assert found["hangs"]["others_ratio"] == 0.9
    assert found["hangs"]["others_ratio_before_the_breaker"] == 0.8
    assert found["hangs"]["most_threads_of_the_bad_one"] == 8
    assert found["limits"]["others_ratio"] == 1.0
    assert found["limits"]["others_ratio_before_the_breaker"] is None
