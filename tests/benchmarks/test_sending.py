"""The figures about when a token was presented can fail, and excuse only what a stopped process explains."""

from __future__ import annotations

from tests.benchmarks.making import Story


def test_a_calm_campaign_breaks_nothing() -> None:
    """Ordinary refreshes of all kinds leave every figure at nought."""
    story = Story()
    for provider in ("gsc", "window", "strict"):
        grant = story.grant(provider)
        for number in range(5):
            story.present(grant, 1_100 + 60 * number, generation=0 if provider == "gsc" else number)
    assert story.broken() == {}


def test_two_presentations_at_once_are_counted() -> None:
    """A presentation that arrives while another is under way breaks the promise."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_100, seconds=10)
    story.present(grant, 1_105, concurrent=True, worker="w2")
    assert story.broken() == {"concurrent_presentations": 1}
    assert story.figure("concurrent_presentations").broken[0]["worker"] == "w2"


def test_a_process_that_was_stopped_before_it_sent_is_excused_by_name() -> None:
    """Late and concurrent, and attributed to the stop that fell between its last look and its send."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_160, sent=1_100.0, concurrent=True)
    story.present(grant, 1_159.5, seconds=5, worker="w2")
    story.stop(1_099.9, 1_159.9)
    assert story.broken() == {}
    for name in ("concurrent_presentations", "late_presentations"):
        (excused,) = story.figure(name).excused
        assert excused["because"] == {"stopped": "w1", "since": 99.9, "until": 159.9}


def test_another_process_stop_excuses_nobody() -> None:
    """A stop of some other worker, or at some other time, explains nothing."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_160, sent=1_100.0)
    story.stop(1_099.9, 1_159.9, worker="w2")
    story.stop(1_300, 1_350)
    assert story.broken() == {"late_presentations": 1}


def test_a_presentation_that_nobody_announced_is_counted() -> None:
    """Where no log tells of a presentation, the judge says so instead of guessing."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_100)
    story.evidence.sends.clear()
    assert story.broken()["unannounced_presentations"] == 1


def test_each_presentation_goes_to_its_own_send() -> None:
    """A late arrival is matched to its old send although a newer one came in between."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_161, sent=1_100.0, worker="w1")
    story.present(grant, 1_150, worker="w2")
    (late,) = story.figure("late_presentations").broken
    assert (late["worker"], late["arrived"]) == ("w1", 161.0)


def test_a_replaced_grant_must_not_be_presented() -> None:
    """A presentation begun after the grant was replaced breaks the promise; one under way does not."""
    story = Story()
    grant = story.grant("strict")
    story.hold(grant, until=1_200.0, ended_how="replaced")
    story.present(grant, 1_200.5)
    assert story.broken() == {}
    story.present(grant, 1_230, generation=1)
    assert story.broken() == {"presentations_of_replaced_grants": 1}


def test_a_spent_token_that_was_imported_is_counted() -> None:
    """An import that takes a spent token breaks the promise; one that failed otherwise is not judged."""
    story = Story()
    story.deed("import_spent", grant="strict-1", refused=True, unknown=False)
    story.deed("import_spent", grant="strict-2", refused=False, unknown=True)
    assert story.broken() == {}
    story.deed("import_spent", grant="strict-3", refused=False, unknown=False)
    assert story.broken() == {"spent_tokens_imported": 1}
    assert story.figure("spent_tokens_imported").counts == {"tried": 2}
