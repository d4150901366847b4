"""What the benchmark of fairness makes of what it measured."""

from __future__ import annotations

import pytest

from benchmarks.fairness import compared, pacing


def rounds(without: float, with_failures: float) -> list[dict[str, object]]:
    return [
        {"failing": failing, "lateness_p99_seconds": p99}
        for failing, p99 in ((False, without), (True, with_failures))
    ]


@pytest.mark.parametrize(
    ("without", "with_failures", "kept"), [(2.0, 2.1, True), (2.0, 2.3, False), (20.0, 21.5, False)]
)
def test_both_bounds_of_the_promise_count(without: float, with_failures: float, kept: bool) -> None:
    """More than a tenth later, or more than a second later: either breaks it."""
    assert compared(rounds(without, with_failures))["kept"] is kept


def presentations(*times: tuple[float, str | None]) -> list[dict[str, object]]:
    return [
        {"grant_id": "google-1", "started_at": at, "ended_at": at + 0.1, "fault": fault}
        for at, fault in times
    ]


def test_a_pause_shorter_than_the_backoff_is_counted() -> None:
    """After one failure at least 1.5 s, after the second in a row at least 3 s."""
    allowed = pacing(presentations((100, "status"), (101.7, "status"), (104.9, None), (105, None)))
    assert (allowed["value"], allowed["judged"]) == (0, 2)

    hasty = pacing(presentations((100, "status"), (101.7, "status"), (103.5, None)))
    assert hasty["value"] == 1
    assert hasty["ones"][0]["failures"] == 2


def test_the_busiest_minute_of_one_connection_is_told() -> None:
    """Presentations within sixty seconds of each other."""
    told = pacing(presentations((0, None), (30, None), (59, None), (61, None)))
    assert told["most_presentations_of_one_connection_in_a_minute"] == 3
