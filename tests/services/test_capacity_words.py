"""What the person on call reads when workers do not keep up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.capacity import Share, total
from domain.pacing import paced_load
from services.alerts import capacity, rate_too_low
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


def test_of_the_one_that_falls_behind_its_own_figures_are_told() -> None:
    """The others' surplus is none of its: their work would say that all is well."""
    slow = replace(SHORT, due_per_second=3.0, done_per_second=1.2, overdue=100)
    fine = Share("fine", 300.0, 390.0, overdue=500, lateness=timedelta(seconds=2))

    alert = capacity(total(AT, [slow, fine], workers=2))

    assert alert.title == "acme falls behind: 3.0 tokens become due each second, and 1.2 are refreshed"
    assert "100 tokens of acme are overdue" in alert.help
    assert "3.0 become due each second and 1.2 are done, so the backlog grows by 1.8 a second" in alert.help
    assert "its calls take long, or its `max_concurrency` is low" in alert.help


def test_a_backlog_that_neither_grows_nor_shrinks_is_said_to_stay() -> None:
    assert "so the backlog stays as it is." in told(done_per_second=412.3).help


def test_one_token_is_told_of_as_one() -> None:
    """Where nobody works at all, a single one is enough for an alert."""
    alert = told(None, due_per_second=0.0, done_per_second=0.0, overdue=1, lateness=timedelta(minutes=20))

    assert alert.title == "No worker refreshes tokens, and 1 is overdue"
    assert alert.help.startswith("1 token is overdue, the oldest by 20 minutes;")
    assert "No bulk worker is seen at work" in alert.help


def test_a_rate_that_is_too_low_is_told_with_its_arithmetic() -> None:
    """What becomes due, what its definition allows, what would be enough, and that workers do not help."""
    share = replace(SHORT, due_per_second=40.0, done_per_second=30.0, most_per_second=30.0)

    alert = rate_too_low(paced_load(AT, share), "acme", "Acme", most_per_second=30.0)

    assert (alert.kind, alert.cause, alert.severity) == (
        "rate_too_low", "provider:acme:rate_too_low", "critical",
    )  # fmt: skip
    assert alert.title == "Acme's request rate is too low for its connections"
    for words in (
        "12,061 tokens of Acme are overdue",
        "40 become due each second and 30 are done, so the backlog grows by 10 a second",
        "allows 30 requests a second (`max_requests_per_second`)",
        "more of them do not help",
        "needs about 50 requests a second",
    ):
        assert words in alert.help
    assert "EVERGRANT_BULK_WORKERS" not in alert.help
    assert (alert.detail["max_requests_per_second"], alert.detail["rate_wanted"]) == (30.0, 50.0)
    assert "workers" not in alert.detail


def test_a_rate_that_drains_too_slowly_is_told_as_that() -> None:
    share = replace(
        SHORT, due_per_second=4.0, done_per_second=5.0, most_per_second=5.0, reserve=timedelta(seconds=50)
    )

    alert = rate_too_low(paced_load(AT, share), "acme", "Acme", most_per_second=5.0)

    assert alert.title == "Acme's request rate drains its backlog too slowly"
    assert "Raise the rate" not in alert.help


@pytest.mark.parametrize(
    ("most", "words"),
    [(5.0, "5.0 requests a second"), (0.5, "30 requests a minute"), (0.01, "36 requests an hour")],
)
def test_a_low_rate_is_told_in_a_unit_that_fits(most: float, words: str) -> None:
    share = replace(SHORT, done_per_second=most, most_per_second=most)

    assert f"allows {words}" in rate_too_low(paced_load(AT, share), "acme", "Acme", most_per_second=most).help
