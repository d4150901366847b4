"""Counting what happened from the activity log."""

from __future__ import annotations

from domain.token import Status
from storage.activity import Note
from storage.meter import ActivityMeter
from tests.storage.making import Bench, landing, now


def test_what_happened_since_is_counted_by_kind(bench: Bench) -> None:
    """Refreshes, failures, doubts and recovered doubts are four figures; what was before counts for none."""
    earlier = Note("refreshed", detail={"late_seconds": 9.0, "recovered": True})
    bench.store.land(landing(bench.claimed(bench.new("0")), note=earlier))
    first, second, third = (bench.new(name) for name in ("1", "2", "3"))
    meter = ActivityMeter(bench.engine)
    meter.read()

    bench.store.land(landing(bench.claimed(first), note=Note("refreshed", detail={"late_seconds": 2.5})))
    bench.store.record_failure(
        bench.failure(bench.claimed(third), note=Note("refresh_failed", "unavailable"))
    )
    doubt = bench.claimed(second)
    bench.store.record_failure(
        bench.failure(doubt, status=Status.IN_DOUBT, refresh_due_at=now(), note=Note("in_doubt", "timed_out"))
    )
    bench.set(second, "refresh_due_at = clock_timestamp()")
    again = bench.recover(second)
    assert again is not None
    bench.store.land(landing(again, note=Note("refreshed", detail={"recovered": True})))
    reading = meter.read()

    assert (reading.refreshed, reading.failed, reading.doubted, reading.recovered) == (2, 1, 1, 1)
    assert (reading.lateness_p50, reading.lateness_p99) == (2.5, 2.5)
