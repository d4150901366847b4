"""What the person on call reads when workers do not keep up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.capacity import Share, total
from services.alerts import capacity
from storage.alerts import AlertSpec

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHORT = Share(
    "acme",
    due_per_second=412.3,
    done_per_second=278.4,
    overdue=12_061,
    lateness=timedelta(seconds=43),
    reserve=timedelta(minutes=9),
)


def told(workers: int | None = 2, **changes: object) -> AlertSpec:
    return capacity(total(AT, [replace(SHORT, **changes)], workers=workers))  # type: ignore[arg-type]  # named fields


def test_the_arithmetic_is_in_the_words() -> None:
    """How much becomes due and is done, how late the oldest is, who expires when, how many workers help."""
    alert = told()

    assert alert.severity == "critical"
    assert alert.title == ("Workers do not keep up: 412 tokens become due each second, and 278 are refreshed")
    for words in (
        "12,061 tokens are overdue, the oldest by 43 seconds",
        "412 become due each second and 278 are done, so the backlog grows by 134 a second",
        "the first expires in 26 minutes, at 12:25:30 UTC",
        "2 worker processes do 139 a second each; 2 more are needed",
        "EVERGRANT_BULK_WORKERS=4",
        "2 more `evergrant worker --queues refresh,health`",
    ):
        assert words in alert.help
    assert alert.detail["workers_missing"] == 2


@pytest.mark.parametrize(
    ("workers", "changes", "severity", "words"),
    [
        (None, {"done_per_second": 0.0}, "critical", "No bulk worker is seen at work: start"),
        (2, {"done_per_second": 4.0}, "critical", "far less than workers can"),
        (1, {"reserve": None}, "warning", "No token expires for it at this pace. 1 worker process does 278"),
        (2, {"expired": 7}, "critical", "Tokens expire now before their turn comes (7 of those"),
        (2, {"exact": False}, "critical", "About 12,000 tokens are overdue"),
        (2, {"due_per_second": 275.0}, "warning", "59 minutes until nothing is overdue. No token expires"),
        (2, {"due_per_second": 200.0}, "warning", "Nothing needs to be done."),
    ],
)
def test_the_words_fit_what_is_wrong(
    workers: int | None, changes: dict[str, object], severity: str, words: str
) -> None:
    alert = told(workers, **changes)

    assert words in alert.help
    assert alert.severity == severity


def test_who_catches_up_is_not_sent_for_workers() -> None:
    """The alert is still open then; its words are those of now."""
    alert = told(due_per_second=200.0, overdue=600)

    assert alert.title == "Workers are catching up: 600 tokens are still overdue"
    assert "EVERGRANT_BULK_WORKERS" not in alert.help


def test_the_provider_that_is_late_alone_is_named() -> None:
    fine = Share("fine", due_per_second=400.0, done_per_second=400.0)

    assert "is of acme" in capacity(total(AT, [SHORT, fine], workers=2)).help
    assert "is of acme" not in told().help
