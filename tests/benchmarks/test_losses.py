"""The figures about spent tokens, lost answers and lost grants can fail, and list what they excuse."""

from __future__ import annotations

import pytest

from tests.benchmarks.making import Story


def lost_rotation(story: Story, provider: str = "strict", *, again: float = 1_160) -> str:
    """A rotation whose answer was cut, its doubt, and the attempt that was refused."""
    grant = story.grant(provider)
    cut = story.present(grant, 1_100, answered=False, fault="drop_after", committed=False)
    story.line(grant, 1_100.2, "in_doubt", cut, "no_answer")
    story.present(grant, again, result="reuse", committed=False)
    story.line(grant, again + 0.2, "needs_reauth", "attempt-2", "invalid_grant")
    story.die(grant, "reuse", again)
    reason = "rotation_probably_lost"
    story.change(grant, status="needs_reauth", reauth_reason=reason, refresh_due_at=None)
    story.alert(grant, reason=reason)
    return grant


def test_the_one_attempt_of_a_doubt_is_listed_and_not_counted() -> None:
    """Single use, cut off, presented once more and refused: excused, with its doubt."""
    story = Story()
    lost_rotation(story)
    assert story.broken() == {}
    (spent,) = story.figure("spent_tokens_presented").excused
    assert spent["doubts"] == [{"at": 100.2, "code": "no_answer", "attempt": "attempt-1"}]
    (lost,) = story.figure("grants_lost").excused
    assert (lost["kind"], lost["fault_of_the_provider"]) == ("single use", "drop_after")


def test_a_second_attempt_of_one_doubt_is_counted() -> None:
    """Every presentation of a spent token needs a doubt of its own."""
    story = Story()
    grant = lost_rotation(story)
    story.present(grant, 1_170, result="reuse", committed=False)
    assert story.broken() == {"spent_tokens_presented": 1}


def test_a_spent_token_presented_without_a_doubt_is_counted() -> None:
    """Reuse with no doubt before it breaks two promises: it was presented, and it cost the grant."""
    story = Story()
    lost_rotation(story)
    story.evidence.activity = [line for line in story.evidence.activity if line.kind != "in_doubt"]
    assert story.broken() == {"spent_tokens_presented": 1, "grants_lost": 1}


def test_presenting_a_token_while_its_answer_lies_staged_is_counted() -> None:
    """A staged answer must land before any recovery, doubt or not."""
    story = Story()
    lost_rotation(story)
    story.say("answer_staged", "attempt-1", 1_100.1)
    assert story.broken()["spent_tokens_presented"] == 1


@pytest.mark.parametrize("provider", ["gsc", "window"])
def test_a_grant_that_need_not_die_is_counted(provider: str) -> None:
    """Without rotation, and within what the window leaves for an outage, a lost grant breaks the promise."""
    story = Story()
    lost_rotation(story, provider, again=1_345)
    story.away("postgres", 1_101, 1_140)
    assert story.broken() == {"grants_lost": 1}


def test_an_outage_longer_than_the_window_leaves_is_listed_with_its_arithmetic() -> None:
    """A window of 240 s of which 100 are needed leaves 140 for an outage."""
    story = Story()
    lost_rotation(story, "window", again=1_345)
    story.away("postgres", 1_101, 1_245)
    assert story.broken() == {}
    (lost,) = story.figure("grants_lost").excused
    assert (lost["usable_for_an_outage"], lost["outage"]) == (140.0, 144.0)


def test_outages_at_the_same_time_count_once() -> None:
    """Postgres and Redis away together are one outage, and too short a one to excuse the loss."""
    story = Story()
    lost_rotation(story, "window", again=1_345)
    story.away("postgres", 1_101, 1_200)
    story.away("redis", 1_110, 1_201)
    assert story.broken() == {"grants_lost": 1}
    assert story.figure("grants_lost").broken[0]["outage"] == 100.0


def test_a_recovery_whose_worker_was_killed_is_a_doubt_of_its_own() -> None:
    """Nobody could write it down: the kill after its send is what the next attempt is listed with."""
    story = Story()
    grant = lost_rotation(story)
    story.kill(1_160.05)
    story.evidence.activity = [line for line in story.evidence.activity if line.kind != "needs_reauth"]
    story.present(grant, 1_210, result="reuse", committed=False)
    assert story.broken() == {}
    second = story.figure("spent_tokens_presented").excused[1]
    assert [doubt["code"] for doubt in second["doubts"]] == ["no_answer", "killed_before_it_was_written"]


def test_a_living_grant_that_was_given_up_is_counted() -> None:
    """Needs reauth here, alive there: lost. A landing afterwards takes the verdict back."""
    story = Story()
    grant = story.grant("gsc")
    story.line(grant, 1_100, "needs_reauth")
    assert story.broken() == {"grants_lost": 1}
    story.present(grant, 1_150)
    assert story.broken() == {}


def test_an_answer_that_nobody_committed_is_counted() -> None:
    """Written out whole, its worker alive, no commit: lost, and unexplained."""
    story = Story()
    story.present(story.grant("gsc"), 1_100, committed=False)
    assert story.broken() == {"answers_lost": 1}
    assert story.figure("answers_lost").broken[0]["because"] == "unexplained"


def test_a_kill_between_socket_and_commit_is_attributed_in_microseconds() -> None:
    """Killed two milliseconds after the answer's end: excused one by one."""
    story = Story()
    story.present(story.grant("strict"), 1_100, committed=False)
    story.kill(1_100.102)
    assert story.broken() == {}
    (lost,) = story.figure("answers_lost").excused
    assert (lost["microseconds_between"], lost["killed"]) == (2_000, 100.102)
    assert lost["because"] == "the worker was killed between the socket and the first durable write"


def test_an_answer_held_in_memory_until_the_kill_is_counted() -> None:
    """Postgres was away, the worker held the answer for seconds and was killed: nothing excuses that."""
    story = Story()
    attempt = story.present(story.grant("strict"), 1_100, committed=False)
    story.away("postgres", 1_099, 1_110)
    story.say("answer_held_in_memory", attempt, 1_100.2)
    story.kill(1_105)
    assert story.broken() == {"answers_lost": 1}
    assert (
        story.figure("answers_lost").broken[0]["because"]
        == "held in memory alone until the worker was killed"
    )


def test_an_answer_that_every_place_refused_at_once_is_listed() -> None:
    """Postgres, spool and Redis away at once, on the machine whose disk was full, excuse the loss."""

    def held(worker: str, redis_until: float) -> Story:
        story = Story()
        attempt = story.present(story.grant("strict"), 1_100, committed=False, worker=worker)
        story.away("postgres", 1_099, 1_110)
        story.away("spool", 1_099, 1_110)
        story.away("redis", 1_090, redis_until)
        story.say("answer_held_in_memory", attempt, 1_100.2)
        story.kill(1_105, worker=worker)
        return story

    everywhere = held("b-bulk-1", 1_102)
    assert everywhere.broken() == {}
    because = everywhere.figure("answers_lost").excused[0]["because"]
    assert because == "Postgres, spool and Redis all refused it"
    # Redis was back when the answer came; another machine's disk was not full.
    assert held("b-bulk-1", 1_100).broken() == {"answers_lost": 1}
    assert held("a-bulk", 1_102).broken() == {"answers_lost": 1}


def test_a_copy_in_redis_that_was_emptied_before_postgres_was_back_is_listed() -> None:
    """Disk full, Postgres away, the worker killed, then Redis flushed: no place was left."""

    def held(postgres_until: float, *, flushed: float) -> Story:
        story = Story()
        attempt = story.present(story.grant("strict"), 1_100, committed=False, worker="b-bulk-1")
        story.away("postgres", 1_099, postgres_until)
        story.away("spool", 1_099, 1_110)
        story.say("answer_held_in_memory", attempt, 1_100.2)
        story.kill(1_105, worker="b-bulk-1")
        story.deed("flush_redis", at=flushed)
        return story

    lost = held(1_118, flushed=1_120)
    assert lost.broken() == {}
    (entry,) = lost.figure("answers_lost").excused
    assert entry["because"] == "Postgres and spool refused it, and Redis was emptied before Postgres was back"
    # Postgres was back for long enough to land the copy, or Redis was emptied before there was one.
    assert held(1_110, flushed=1_120).broken() == {"answers_lost": 1}
    assert held(1_118, flushed=1_099.5).broken() == {"answers_lost": 1}


def test_another_workers_kill_excuses_no_loss() -> None:
    """The kill must be of the worker that had the answer."""
    story = Story()
    story.present(story.grant("strict"), 1_100, committed=False)
    story.kill(1_100.102, worker="w2")
    assert story.broken() == {"answers_lost": 1}


def test_an_answer_kept_as_a_spare_is_not_lost() -> None:
    """An answer that came too late for its version is kept."""
    story = Story()
    grant = story.grant("strict")
    attempt = story.present(grant, 1_100, committed=False)
    story.line(grant, 1_160, "answer_superseded", attempt)
    assert story.broken() == {}


def test_an_answer_that_never_became_whole_cannot_be_lost() -> None:
    """Cut, or written out as nonsense: a doubt, and no lost answer."""
    story = Story()
    grant = story.grant("gsc")
    story.present(grant, 1_100, answered=False, fault="truncated_body", committed=False)
    story.present(grant, 1_150, fault="invalid_json", committed=False)
    assert story.broken() == {}


def test_a_worker_that_refuses_a_whole_answer_in_time_is_counted() -> None:
    """`refresh_failed` about an answer that was whole within the deadline is a loss; after it, it is not."""
    story = Story()
    grant = story.grant("gsc")
    attempt = story.present(grant, 1_100, committed=False)
    story.say("refresh_failed", attempt, 1_100.2, code="timed_out")
    assert story.broken() == {"answers_lost": 1}

    story = Story()
    attempt = story.present(story.grant("gsc"), 1_100, seconds=15.1, committed=False)
    story.say("refresh_failed", attempt, 1_115.0, code="timed_out")
    assert story.broken() == {}
