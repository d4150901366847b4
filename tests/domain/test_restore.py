"""What gives a restored database away, and what is done about its tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import GrantRejected
from domain.policy import NeedsReauth, after_failure
from domain.provider import GrantKind, ProviderFacts, Rotation
from domain.restore import (
    Adopt,
    Guarded,
    Identity,
    Judgement,
    Mark,
    Present,
    Restored,
    Sign,
    Trusted,
    Unsettled,
    higher,
    judge,
    recovery_after_restore,
    spent_until,
    withheld,
)
from domain.token import RESTORED, ReauthReason, Status
from tests.domain.build import NOW, PLAIN, STRICT, WINDOWED, facts, seconds, token

HERE = Identity("7711619819544041694", 1, 16384)
PROMOTED = replace(HERE, timeline=2)
ELSEWHERE = replace(HERE, system="7711619819544041695")
COPIED = replace(HERE, database=16999)


def present(**changes: object) -> Present:
    """An accepted database at line 100, with its WAL written to 1000."""
    ordinary = Present(
        identity=HERE,
        has_row=True,
        accepted=HERE,
        line=100,
        last_at=NOW - seconds(5),
        lsn=1000,
        durable=1000,
        holds_tokens=True,
        guarded_since=None,
        found={},
        now=NOW,
    )
    return replace(ordinary, **changes)  # type: ignore[arg-type]  # a test names the fields it means


def mark(
    line: int = 100, lsn: int = 1000, *, identity: Identity = HERE, at: datetime = NOW, offset: int = 0
) -> Mark:
    return Mark(identity, line, lsn, at, offset)


@pytest.mark.parametrize(
    ("database", "marks", "expected"),
    [
        # First starts.
        (present(accepted=None), [], Adopt(100)),
        (present(accepted=None), [mark(100)], Adopt(100)),
        (present(accepted=None), [mark(101)], Restored((Sign.LINES_MISSING,))),
        (present(accepted=None, holds_tokens=False, line=0), [], Adopt(0)),
        # Going on.
        (present(), [], Trusted()),
        (present(), [mark(), mark(99, 900)], Trusted()),
        (present(line=200, lsn=2000), [mark()], Trusted()),
        # Behind.
        (present(), [mark(101, 1000)], Restored((Sign.LINES_MISSING,))),
        (present(), [mark(99, 900), mark(101, 900)], Restored((Sign.LINES_MISSING,))),
        (present(), [mark(100, 1001)], Restored((Sign.WAL_MISSING,))),
        (present(), [mark(101, 1001)], Restored((Sign.LINES_MISSING, Sign.WAL_MISSING))),
        (present(), [mark(101, 5, identity=ELSEWHERE)], Restored((Sign.LINES_MISSING,))),
        # Put back and accepted: the positions that were given up are written again.
        (present(line=2000, offset=1900), [mark(100, 9000)], Trusted()),
        (present(line=2000, offset=1900), [mark(2000, 1001, offset=1900)], Restored((Sign.WAL_MISSING,))),
        (present(), [mark(100, 1001, offset=1900)], Restored((Sign.WAL_MISSING,))),
        # WAL of another server or timeline is counted from elsewhere.
        (present(), [mark(100, 5000, identity=ELSEWHERE), mark(100, 5000, identity=PROMOTED)], Trusted()),
        # Another database, whatever the marks say.
        (present(identity=PROMOTED), [], Restored((Sign.OTHER_IDENTITY,))),
        (present(identity=ELSEWHERE), [mark()], Restored((Sign.OTHER_IDENTITY,))),
        (present(identity=COPIED), [mark()], Restored((Sign.OTHER_IDENTITY,))),
        # New, and beyond every mark of a predecessor.
        (
            present(accepted=None, holds_tokens=False, line=0),
            [mark(500), mark(700, identity=ELSEWHERE)],
            Adopt(700),
        ),
        # Nothing in it that could be spent.
        (present(holds_tokens=False), [mark()], Trusted()),
        (present(holds_tokens=False, identity=ELSEWHERE), [], Unsettled()),
        (present(holds_tokens=False, line=0), [mark(500)], Unsettled()),
        (present(holds_tokens=False, accepted=None, has_row=False), [], Unsettled()),
        # It does not even know that it is a deployment's.
        (present(accepted=None, has_row=False), [], Restored((Sign.OTHER_IDENTITY,))),
        # Found by somebody: only an answer ends it.
        (present(guarded_since=NOW), [], Guarded()),
        (present(guarded_since=NOW, holds_tokens=False), [], Guarded()),
        (present(guarded_since=NOW, identity=ELSEWHERE), [mark(900)], Guarded()),
    ],
)
def test_what_gives_a_database_away(database: Present, marks: list[Mark], expected: Judgement) -> None:
    """Another identity, missing lines, or missing WAL of the same server, and nothing else."""
    assert judge(database, marks) == expected


_MARKS = st.builds(
    Mark,
    st.sampled_from([HERE, PROMOTED, ELSEWHERE]),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.datetimes(timezones=st.just(UTC)),
)


@given(_MARKS, _MARKS)
def test_the_higher_of_two_marks_is_below_neither(one: Mark, other: Mark) -> None:
    """In whichever order they are merged, and however often."""
    merged = higher(one, other)

    assert merged.line == max(one.line, other.line)
    if one.identity == other.identity:
        assert (merged.lsn, merged.at) == (max(one.lsn, other.lsn), max(one.at, other.at))
    assert higher(merged, one) == higher(merged, other) == merged
    assert higher(None, one) == one


@given(_MARKS)
def test_a_mark_survives_being_written(one: Mark) -> None:
    assert Mark.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "{}", '{"identity": "a", "line": 1, "lsn": 1, "at": "2026-01-01T00:00:00+00:00"}',
     '{"identity": "a/1/2", "line": 1, "lsn": 1, "at": "2026-01-01T00:00:00"}',
     '{"identity": "a/1/2", "line": "many", "lsn": 1, "at": "2026-01-01T00:00:00+00:00"}'],
)  # fmt: skip
def test_what_is_no_mark_is_called_so(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever of its kinds
        Mark.from_json(text)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (PLAIN, False),
        (STRICT, True),
        (WINDOWED, True),
        (facts(Rotation.OPTIONAL, timedelta(0)), True),
        # The successors of a backup's tokens have been used.
        (facts(Rotation.SINGLE_USE, "until_successor_used"), True),
        (facts(Rotation.SINGLE_USE, "unlimited"), False),
        (facts(grant=GrantKind.CLIENT_CREDENTIALS), False),
        (facts(grant=GrantKind.NONE), False),
    ],
)
def test_whose_tokens_are_withheld(known: ProviderFacts, expected: bool) -> None:
    """Those that a rotation may have spent, and that may not be presented twice for ever."""
    assert withheld(known) is expected


def test_what_may_have_been_refreshed_ends_a_minute_after_the_newest_mark() -> None:
    """Without a mark, or where the mark is of this minute, when it was found out."""
    old, newer = mark(at=NOW - timedelta(hours=3)), mark(at=NOW - timedelta(hours=2))

    assert spent_until(NOW, []) == NOW
    assert spent_until(NOW, [newer, old]) == NOW - timedelta(minutes=119)
    assert spent_until(NOW, [mark(at=NOW - seconds(5))]) == NOW


@pytest.mark.parametrize(
    ("known", "since", "expires", "expected"),
    [
        # Deadline 15 s, settling 30 s; the last resort 25 s before expiry.
        (STRICT, seconds(3600), seconds(1000), seconds(975)),
        (STRICT, seconds(3600), seconds(-1000), seconds(0)),
        (STRICT, seconds(10), seconds(-1000), seconds(35)),
        (WINDOWED, seconds(60), seconds(1000), seconds(0)),
        (WINDOWED, seconds(3600), seconds(1000), seconds(975)),
        (facts(Rotation.SINGLE_USE, "until_successor_used"), seconds(3600), seconds(1000), seconds(975)),
    ],
)
def test_when_an_old_token_is_tried(
    known: ProviderFacts, since: timedelta, expires: timedelta, expected: timedelta
) -> None:
    """Within a window that is open, counted from the end of the record; else as late as possible."""
    doubted = token(
        status=Status.IN_DOUBT,
        presented_at=NOW - since,
        first_presented_at=NOW - since,
        expires_at=NOW + expires,
    )

    assert recovery_after_restore(doubted, known, now=NOW) == NOW + expected


@pytest.mark.parametrize(
    "known", [STRICT, WINDOWED, facts(Rotation.SINGLE_USE, "until_successor_used")], ids=repr
)
def test_a_refused_token_of_a_backup_is_told_as_lost(known: ProviderFacts) -> None:
    """Whatever the window: the user has revoked nothing, as far as anybody knows."""
    doubted = token(
        status=Status.IN_DOUBT, presented_at=NOW, first_presented_at=NOW, last_error_code=RESTORED
    )
    verdict = after_failure(doubted, known, GrantRejected("invalid_grant"), now=NOW, jitter=0.5)

    assert verdict.token == NeedsReauth(ReauthReason.ROTATION_PROBABLY_LOST)


def test_the_mark_of_an_accepted_state_takes_the_place_of_the_one_that_was_given_up() -> None:
    """Its position counts, though it is lower; the former one does not raise it again."""
    given_up, accepted = mark(100, 9000, offset=0), mark(2000, 1000, offset=1900)

    assert higher(given_up, accepted) == higher(accepted, given_up) == accepted
    assert Mark.from_json(accepted.to_json()) == accepted


def test_a_mark_of_a_former_release_has_not_been_moved_on() -> None:
    """Marks that were written before positions belonged to a state are read as the first state's."""
    written = json.loads(mark().to_json())
    del written["offset"]

    assert Mark.from_json(json.dumps(written)) == mark()
