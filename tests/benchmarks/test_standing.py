"""The figures about what is left, what alerts say, and how often failures were repeated can fail."""

from __future__ import annotations

import pytest

from tests.benchmarks.making import LOOKED, Story


@pytest.mark.parametrize(
    "left",
    [
        {"status": "in_doubt"},
        {"refresh_due_at": LOOKED - 60},
        {"refresh_due_at": None},
        {"expires_at": LOOKED - 1},
    ],
)
def test_what_is_left_undone_is_counted(left: dict[str, object]) -> None:
    """Due, in doubt, never due again, or expired: each breaks the promise."""
    story = Story()
    story.change(story.grant("gsc"), **left)
    assert story.broken() == {"left_undone": 1}


def test_a_recovery_that_did_not_end_is_counted() -> None:
    """The bound on recovery is a promise of its own."""
    story = Story()
    story.evidence.recovered = False
    assert story.broken() == {"left_undone": 1}


def revoked(story: Story, *, reason: str = "grant_rejected") -> str:
    """A grant that was really revoked, and what we made of it."""
    grant = story.grant("strict")
    story.die(grant, "revoked", 1_150)
    story.hold(grant, ended_how="revoked")
    story.change(grant, status="needs_reauth", reauth_reason=reason, refresh_due_at=None)
    return grant


def test_a_true_alert_breaks_nothing() -> None:
    """Revoked there, needs reauth here, one alert that says so."""
    story = Story()
    story.alert(revoked(story), reason="grant_rejected")
    assert story.broken() == {}


def test_a_missing_alert_is_counted() -> None:
    """A dead grant of which nobody was told."""
    story = Story()
    revoked(story)
    assert story.broken() == {"alerts_untrue_or_missing": 1}


def test_a_dead_grant_that_nobody_noticed_is_counted() -> None:
    """Dead at the provider, and active here after recovery."""
    story = Story()
    grant = revoked(story)
    story.change(grant, status="active", refresh_due_at=LOOKED + 30)
    assert story.broken() == {"alerts_untrue_or_missing": 1}


def test_an_alert_with_the_wrong_reason_is_counted() -> None:
    """Revoked, and told as a lost rotation; unless an answer was in doubt, which nobody can tell apart."""
    story = Story()
    grant = revoked(story, reason="rotation_probably_lost")
    story.alert(grant, reason="rotation_probably_lost")
    assert story.broken() == {"alerts_untrue_or_missing": 1}
    story.line(grant, 1_100, "in_doubt", None, "no_answer")
    assert story.broken() == {}
    assert len(story.figure("alerts_untrue_or_missing").excused) == 1


@pytest.mark.parametrize("kind", ["needs_reauth", "failing", "unreadable"])
def test_an_alert_about_a_healthy_connection_is_counted(kind: str) -> None:
    """Open, although the connection is well."""
    story = Story()
    story.alert(story.grant("gsc"), kind)
    assert story.broken() == {"alerts_untrue_or_missing": 1}


def test_an_open_alert_about_a_provider_that_answers_is_counted() -> None:
    """After recovery no provider is held; a resolved alert is history."""
    story = Story()
    story.alert(None, "provider_unreachable", status="resolved")
    assert story.broken() == {}
    story.alert(None, "provider_unreachable")
    assert story.broken() == {"alerts_untrue_or_missing": 1}


def test_an_alert_that_was_announced_twice_is_counted() -> None:
    """Repetition counts and tells nobody again."""
    story = Story()
    story.alert(revoked(story), reason="grant_rejected", openings=2)
    assert story.broken() == {"alerts_untrue_or_missing": 1}


def failed(story: Story, grant: str, at: float) -> None:
    """A presentation that was answered by a 503 and written down as a failure."""
    attempt = story.present(grant, at, result="fault:status", fault="status", committed=False)
    story.line(grant, at + 0.11, "refresh_failed", attempt, "unavailable")


def test_a_presentation_before_its_backoff_is_counted() -> None:
    """After a third failure of a token of a minute at least 6 s pass; a second failure allows 3 s."""
    story = Story()
    grant = story.grant("gsc")
    for at in (1_100.0, 1_101.7, 1_104.9, 1_111.1):
        failed(story, grant, at)
    assert story.broken() == {}
    failed(story, grant, 1_113.0)
    assert story.broken() == {"presented_too_soon": 1}
    (soon,) = story.figure("presented_too_soon").broken
    assert (soon["failures"], soon["least"]) == (4, 12.0)


def test_a_success_begins_the_backoff_anew() -> None:
    """Failures count in a row."""
    story = Story()
    grant = story.grant("gsc")
    for at in (1_100.0, 1_101.7, 1_104.9):
        failed(story, grant, at)
    story.present(grant, 1_112)
    failed(story, grant, 1_150)
    story.present(grant, 1_152)
    assert story.broken() == {}
