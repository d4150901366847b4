"""Landings in groups: each as if it had been made alone, whatever happens to the others and to the group."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.errors import ServiceUnavailable
from domain.token import Credentials
from storage.activity import Note
from storage.importing import Importer
from storage.keys import KeyRing, generate
from storage.sealing import Sealer
from storage.sealing_key import SealingKey
from storage.tokens.landing import AlreadyLanded, Gone, Landed, Landing, LandResult, Superseded
from storage.tokens.rows import token_ref
from storage.tokens.store import TokenStore
from tests.storage.grouping import (
    alone,
    backends,
    blocked_activity,
    gathered,
    landed_together,
    unconfirmed_commits,
)
from tests.storage.making import Bench, landing, now, pair
from tests.support.waiting import eventually

_ANOTHER = "attempt_id = gen_random_uuid(), lease_owner = 'x', lease_until = now() + interval '1 minute'"
#: What happens to a row between its claim and its landing, how the answer differs, and whether that is plain.
CASES: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("status = status", {}, True),
    ("status = status", {"credentials": Credentials(SecretStr("AT-2"), None), "keep_refresh": True}, True),
    ("status = status", {"credentials": Credentials(SecretStr("AT-2"), None)}, True),
    ("status = status", {"credentials": pair("1")}, True),
    ("status = status", {"refresh_expires_at": now()}, True),
    (
        "refresh_expires_at = now()",
        {"keep_refresh": True, "credentials": Credentials(SecretStr("AT-2"), None)},
        True,
    ),
    ("status = status", {"note": Note("refreshed", "code", {"a": ['"', "\\", "ü", None, 1.5]})}, True),
    ("status = status", {"scope": ("read", "write")}, False),
    ("check_due_at = NULL", {}, True),
    ("refresh_token = NULL, refresh_digest = NULL, refreshable = false", {}, True),
    ("status = 'in_doubt', check_failures = 3, failures = 2, last_error_code = 'timeout'", {}, True),
    (
        (
            "status = 'needs_reauth', reauth_reason = 'rotation_probably_lost', refused_at = now(),"
            " refresh_due_at = NULL, check_due_at = NULL, check_failures = 2"
        ),
        {},
        True,
    ),
    (_ANOTHER, {}, True),
    (f"{_ANOTHER}, presented_at = NULL", {}, True),
    (
        "attempt_id = gen_random_uuid(), lease_owner = 'x', lease_until = now() - interval '1 minute'",
        {},
        True,
    ),
    ("alerted = true", {}, False),
    ("version = 9", {}, False),
    ("version = 0", {}, False),
    ("status = 'disconnected', refresh_due_at = NULL, check_due_at = NULL", {}, False),
    ("grant_id = gen_random_uuid()", {}, False),
)
#: What differs from one row to the next.
_OWN = {"connection_id", "grant_id", "committed_attempt_id", "attempt_id", "access_token"} | {
    *("refresh_token", "refresh_digest")
}


def prepared(bench: Bench, name: str) -> list[Landing]:
    """An answer for each case, on a row of its own that was claimed and then bent."""
    answers = []
    for number, (bent, changes, _) in enumerate(CASES):
        connection_id = bench.new(f"{name}-{number}")
        answers.append(landing(bench.claimed(connection_id), **changes))
        bench.set(connection_id, bent)
    return answers


def likeness(bench: Bench, answer: Landing) -> dict[str, object]:
    """What is the same of all connections in one state: row, tokens, activity, scope."""
    connection_id = answer.connection_id
    with bench.engine.begin() as connection:
        row = connection.execute(
            text("SELECT t.*, scope FROM tokens t JOIN connections ON id = connection_id WHERE id = :id"),
            {"id": connection_id},
        ).mappings().one()  # fmt: skip
        lines = connection.execute(
            text(
                "SELECT kind, code, detail, version, provider_id, attempt_id = :attempt FROM activity"
                " WHERE connection_id = :id ORDER BY id"
            ),
            {"id": connection_id, "attempt": answer.attempt_id},
        ).all()
    shown = {
        name: value is not None if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in _OWN
    }
    refresh, digest = row["refresh_token"], row["refresh_digest"]
    known = {name: bench.sealer.digest(SecretStr(f"RT-{name}"), connection_id) for name in ("1", "2")}
    named = {value: name for name, value in known.items()}
    access = row["access_token"]
    return shown | {
        "access": bench.sealer.open(access, token_ref("access_token", connection_id)).get_secret_value(),
        "spent_digests": [named[each] for each in row["spent_digests"]],
        "refresh": (refresh is not None, None if digest is None else named[digest]),
        "committed": row["committed_attempt_id"] == answer.attempt_id,
        "held": row["attempt_id"] is not None,
        "lines": [tuple(line) for line in lines],
    }


def test_a_landing_in_a_group_is_what_it_is_alone(bench: Bench) -> None:
    """Over every state of a row and every kind of answer: the same result, row, tokens and activity."""
    lone, grouped = prepared(bench, "alone"), prepared(bench, "group")
    single = alone(bench)
    apart = [single.land(answer) for answer in lone]

    plain = [answer for answer in grouped if answer.scope is None]
    with bench.sealer.pinned() as sealer:
        parameters = [bench.store._parameters(answer, sealer) for answer in plain]
    # What the group itself lands; the others' results are those of landing alone after it.
    attempts = [answer.attempt_id for answer in plain]
    landed = dict(zip(attempts, bench.store._groups._land_all(parameters), strict=True))
    together: list[LandResult] = []
    for answer in grouped:
        version = landed.get(answer.attempt_id)
        together.append(bench.store.land(answer) if version is None else Landed(version, was_alerted=False))

    assert together == apart
    assert [landed.get(answer.attempt_id) is not None for answer in grouped] == [plain for *_, plain in CASES]
    assert {type(result) for result in apart} == {Landed, Superseded, Gone}
    for one, other, (bent, *_) in zip(lone, grouped, CASES, strict=True):
        assert likeness(bench, one) == likeness(bench, other), bent


def test_a_landing_that_came_twice_lands_once(bench: Bench) -> None:
    """Two of the same in one group: one lands, and the other recognises itself."""
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(2)]

    results = landed_together(bench, answers[0], answers[1], answers[0])

    assert sorted(map(str, results)) == sorted(
        map(str, [Landed(2, was_alerted=False), Landed(2, was_alerted=False), AlreadyLanded(2)])
    )
    assert [bench.kinds(answer.connection_id) for answer in answers] == [["imported", "refreshed"]] * 2


def test_one_bad_answer_costs_no_other_its_landing(bench: Bench) -> None:
    """Postgres refuses one answer's data, and so the whole group; the others land, and it hears why."""
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(4)]
    answers[2] = replace(answers[2], note=Note("refreshed", detail={"what": "\0"}))

    results = landed_together(bench, *answers)

    assert [result == Landed(2, was_alerted=False) for result in results] == [True, True, False, True]
    assert isinstance(results[2], DBAPIError)
    assert bench.column(answers[2].connection_id, "version") == 1


def test_a_group_lands_although_somebody_holds_one_of_its_rows(bench: Bench) -> None:
    """That answer alone waits for its row."""
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(3)]
    with gathered(bench.store._groups._landings) as together:
        with bench.engine.begin() as writing:
            held = {"id": answers[1].connection_id}
            writing.execute(text("SELECT 1 FROM tokens WHERE connection_id = :id FOR UPDATE"), held)
            first, waiting, last = together([partial(bench.store.land, answer) for answer in answers])
            assert first.result(60) == last.result(60) == Landed(2, was_alerted=False)
            assert not waiting.done()
        assert waiting.result(60) == Landed(2, was_alerted=False)


def test_a_connection_that_is_cut_in_the_middle_is_heard_by_all(
    bench: Bench, migrated_database_url: str
) -> None:
    """Nobody is told that his answer has landed; all land when they are handed in again."""
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(4)]
    with (
        gathered(bench.store._groups._landings) as together,
        blocked_activity(migrated_database_url) as other,
    ):
        running = together([partial(bench.store.land, answer) for answer in answers])
        eventually(lambda: len(backends(migrated_database_url)) == 1, what="one statement waits for all")
        (waiting,) = backends(migrated_database_url)
        other.execute("SELECT pg_terminate_backend(%s)", (waiting,))
        heard = [future.exception(60) for future in running]

    assert all(isinstance(each, ServiceUnavailable) for each in heard)
    assert len({id(each) for each in heard}) == 4
    assert {bench.column(answer.connection_id, "version") for answer in answers} == {1}
    assert landed_together(bench, *answers) == [Landed(2, was_alerted=False)] * 4


def test_a_group_whose_commit_was_not_confirmed_recognises_itself(bench: Bench) -> None:
    """Postgres had committed when the connection died: all hear that it is unknown, and none lands twice."""
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(4)]
    with unconfirmed_commits():
        heard = landed_together(bench, *answers)

    assert all(isinstance(each, ServiceUnavailable) for each in heard)
    assert landed_together(bench, *answers) == [AlreadyLanded(2)] * 4
    assert all(bench.kinds(answer.connection_id) == ["imported", "refreshed"] for answer in answers)


def test_the_key_changes_while_a_group_is_under_way(bench: Bench, migrated_database_url: str) -> None:
    """Until the commit its answers count as under way under the former key, and they open afterwards."""
    ring, sealing = KeyRing.parse(SecretStr(f"{generate('k1')},{generate('k2')}")), SealingKey("k1")
    bench.sealer = Sealer(ring, sealing)
    bench.store = TokenStore(bench.engine, bench.sealer)
    bench.importer = Importer(bench.engine, bench.sealer)
    answers = [landing(bench.claimed(bench.new(str(number)))) for number in range(4)]
    with gathered(bench.store._groups._landings) as together:
        with blocked_activity(migrated_database_url):
            running = together([partial(bench.store.land, answer) for answer in answers])
            eventually(lambda: len(backends(migrated_database_url)) == 1, what="one statement waits for all")
            sealing.use("k2")
            assert not sealing.settled()
        assert [future.result(60) for future in running] == [Landed(2, was_alerted=False)] * 4

    assert sealing.settled()
    assert {bench.column(answer.connection_id, "key_id") for answer in answers} == {"k1"}
    later = [again(bench, answer.connection_id) for answer in answers]
    assert landed_together(bench, *later) == [Landed(3, was_alerted=False)] * 4
    assert {bench.column(answer.connection_id, "key_id") for answer in answers} == {"k2"}


def again(bench: Bench, connection_id: UUID) -> Landing:
    """The next answer to a connection, whose present tokens open."""
    bench.set(connection_id, "refresh_due_at = now()")
    claimed = bench.claimed(connection_id, attempt_id=uuid4())
    assert bench.store.open(claimed) == pair("2")
    return landing(claimed, "3")
