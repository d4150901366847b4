"""Counting what happened from the activity log."""

from __future__ import annotations

from datetime import timedelta

from domain.token import Status
from storage.activity import Note
from storage.meter import ActivityMeter
from tests.storage.making import Bench, landing, now


def test_what_happened_since_is_counted_by_kind(bench: Bench) -> None:
    """Refreshes, failures, doubts and recovered doubts are four figures; what was before counts for none."""
    first, second = bench.new("1"), bench.new("2")
    meter = ActivityMeter(bench.engine)
    meter.read()

    bench.store.land(landing(bench.claimed(first), note=Note("refreshed", detail={"late_seconds": 2.5})))
    doubt = bench.claimed(second)
    bench.store.record_failure(
        bench.failure(doubt, status=Status.IN_DOUBT, refresh_due_at=now(), note=Note("in_doubt", "timed_out"))
    )
    bench.set(second, "refresh_due_at = clock_timestamp()")
    again = bench.store.claim_recovery(
        second,
        seen=bench.column(second, "attempt_id"),
        attempt_id=first,
        owner="test",
        lease=timedelta(seconds=40),
    )
    assert again is not None
    bench.store.land(landing(again, note=Note("refreshed", detail={"recovered": True})))
    reading = meter.read()

    assert (reading.refreshed, reading.failed, reading.doubted, reading.recovered) == (2, 0, 1, 1)
    assert (reading.lateness_p50, reading.lateness_p99) == (2.5, 2.5)
