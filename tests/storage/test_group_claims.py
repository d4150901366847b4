"""Claims in groups: each as if it had been made alone."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from domain.token import TokenState
from storage.engine import make_engine
from storage.tokens.claims import Claimed
from storage.tokens.groups import Groups, WantedClaim
from tests.storage.grouping import alone, claimed_together
from tests.storage.making import LEASE, Bench, pair

#: Rows in every state that a condition of the claim looks at, on both sides of it.
STATES = (
    "status = status",
    "refresh_due_at = now() + interval '1 minute'",
    "refresh_due_at = NULL",
    "refresh_due_at = NULL, check_due_at = NULL, status = 'needs_reauth'",
    "refresh_due_at = NULL, check_due_at = NULL, status = 'disconnected'",
    "status = 'in_doubt', first_presented_at = now()",
    "refreshable = false",
    "not_before = now() + interval '1 minute'",
    "not_before = now() - interval '1 second'",
    "lease_owner = 'x', lease_until = now() + interval '1 minute'",
    "lease_owner = 'x', lease_until = now() - interval '1 second'",
    (
        "lease_owner = 'x', lease_until = now() - interval '1 second', "
        "attempt_id = gen_random_uuid(), presented_at = now(), first_presented_at = now()"
    ),
    "last_refreshed_at = now()",
    "first_presented_at = now() - interval '1 minute'",
    "expires_at = NULL, issued_at = NULL, check_due_at = NULL",
    "alerted = true, failures = 4, last_error_code = 'unavailable', tenant = 'shop'",
    "refresh_enqueued_until = now() + interval '20 seconds', refused_at = now(), check_failures = 1",
    "refresh_token = NULL, refresh_digest = NULL",
)
MOMENT = timedelta(seconds=30)


def wanted(connection_id: UUID) -> WantedClaim:
    return WantedClaim(connection_id, uuid4(), "test", LEASE, lambda: False)


def likeness(state: TokenState) -> dict[str, object]:
    """What is the same of every row in one state; of an instant, whether there is one."""
    own = {"connection_id", "grant_id", "attempt_id"}
    shown = {name: getattr(state, name) for name in TokenState.__slots__ if name not in own}
    return {
        name: value is not None if isinstance(value, datetime) else value for name, value in shown.items()
    }


def test_a_claim_in_a_group_is_what_it_is_alone(bench: Bench) -> None:
    """Over every state of a row: the same are taken, and their rows look the same afterwards."""
    single = alone(bench)
    lone = [bench.new(f"alone-{number}") for number in range(len(STATES))]
    grouped = [bench.new(f"group-{number}") for number in range(len(STATES))]
    for ids in (lone, grouped):
        for connection_id, bent in zip(ids, STATES, strict=True):
            bench.set(connection_id, bent)

    bench.store = single
    apart = [bench.claim(connection_id) for connection_id in lone]
    rows = Groups(bench.engine)._claim_all([wanted(connection_id) for connection_id in grouped])

    assert [row is not None for row in rows] == [claimed is not None for claimed in apart]
    assert 6 <= sum(row is not None for row in rows) < len(STATES)
    for one, other, bent in zip(lone, grouped, STATES, strict=True):
        (_, alike, _), (_, same, now) = single.read(one), single.read(other)  # type: ignore[misc]  # they are there
        assert likeness(alike) == likeness(same), bent
        for name in ("lease_until", "presented_at", "first_presented_at", "refresh_due_at"):
            before, after = getattr(alike, name), getattr(same, name)
            assert before is None or abs(after - before) < MOMENT, (bent, name)
        if same.attempt_id is not None and same.presented_at == same.first_presented_at and same.lease_until:
            assert same.lease_until <= now + LEASE


def test_what_a_group_returns_is_each_callers_own(bench: Bench) -> None:
    """Attempt, owner, credentials and the one behind the token; the lease counts from Postgres' clock."""
    ids = [
        bench.new(str(number), credentials=pair(str(number)), metadata={"plan": number})
        for number in range(5)
    ]
    attempts = [uuid4() for _ in ids]

    def claim(number: int) -> Claimed | None:
        return bench.claim(
            ids[number], attempt_id=attempts[number], owner=f"owner-{number}", lease=LEASE * (number + 1)
        )

    found = claimed_together(bench, *(partial(claim, number) for number in range(5)))

    for number, claimed in enumerate(found):
        assert claimed is not None
        state = claimed.state
        assert (state.connection_id, state.attempt_id) == (ids[number], attempts[number])
        assert (state.lease_owner, claimed.ref.user_id) == (f"owner-{number}", f"user-{number}")
        assert (claimed.ref.metadata, claimed.scope) == ({"plan": number}, ("read",))
        assert bench.store.open(claimed) == pair(str(number))
        assert state.presented_at is not None
        assert state.presented_at == state.first_presented_at
        assert state.presented_at <= claimed.now
        assert state.lease_until is not None
        lease = LEASE * (number + 1)
        assert lease - timedelta(seconds=5) < state.lease_until - claimed.now <= lease
        assert claimed.now.utcoffset() == timedelta(0)


def test_a_message_that_came_twice_yields_one_claim(bench: Bench) -> None:
    """Two callers of one group for one token: one has it, and the other is told that it is not to be had."""
    twice, other = bench.new("1"), bench.new("2")

    found = claimed_together(bench, *(partial(bench.claim, each) for each in (twice, other, twice)))

    assert sorted(claimed is not None for claimed in found) == [False, True, True]
    (holder,) = [each for each in found if each is not None and each.state.connection_id == twice]
    assert bench.column(twice, "attempt_id") == holder.state.attempt_id


def test_each_caller_is_asked_right_before_the_statement(bench: Bench) -> None:
    """Whoever says no then is not claimed for, and keeps nobody else from it."""
    ids = [bench.new(str(number)) for number in range(3)]

    found = claimed_together(
        bench,
        lambda: bench.claim(ids[0]),
        lambda: bench.claim(ids[1], unless=lambda: True),
        lambda: bench.claim(ids[2]),
    )

    assert [claimed is not None for claimed in found] == [True, False, True]
    assert bench.column(ids[1], "presented_at") is None


def test_a_group_does_not_wait_for_a_row_that_somebody_holds(bench: Bench) -> None:
    """The others are claimed while that row is being written; it is left to its caller to wait for it."""
    ids = [bench.new(str(number)) for number in range(3)]
    with bench.engine.begin() as writing:
        writing.execute(text("SELECT 1 FROM tokens WHERE connection_id = :id FOR UPDATE"), {"id": ids[1]})
        rows = Groups(bench.engine)._claim_all([wanted(connection_id) for connection_id in ids])

    assert [row is not None for row in rows] == [True, False, True]
    assert bench.claim(ids[1]) is not None


def test_a_due_token_is_claimed_without_touching_an_index(bench: Bench) -> None:
    """Its due time stays as it was, so that the update can be heap-only; the owner's row is not written."""
    connection_id = bench.new()
    due = bench.column(connection_id, "refresh_due_at")
    owner = bench.value("SELECT xmin::text FROM connections WHERE id = :id", id=connection_id)

    assert bench.claim(connection_id) is not None

    assert bench.column(connection_id, "refresh_due_at") == due
    assert bench.value("SELECT xmin::text FROM connections WHERE id = :id", id=connection_id) == owner


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_two_processes_that_overlap(bench: Bench, migrated_database_url: str, seed: int) -> None:
    """Over many rounds neither waits or fails, and no token is claimed twice."""
    shuffle = random.Random(seed).sample
    ids = [bench.new(str(number)) for number in range(20)]
    other = make_engine(migrated_database_url, application_name="other")
    processes = [Groups(engine) for engine in (bench.engine, bench.engine, other, other)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            groups = [[wanted(each) for each in shuffle(ids, len(ids))] for _ in processes]
            running = [
                pool.submit(process._claim_all, group)
                for process, group in zip(processes, groups, strict=True)
            ]
            rows = [row for each in running for row in each.result(60) if row is not None]
            taken = [row[0] for row in rows]
            assert len(taken) == len(set(taken))
            # Whatever all of them passed over is to be had by whoever asks for it alone.
            rest = {each for each in ids if each not in taken}
            assert all(bench.claim(each) is not None for each in rest)
            with bench.engine.begin() as connection:
                connection.execute(
                    text("UPDATE tokens SET lease_owner = NULL, lease_until = NULL, attempt_id = NULL,"
                         " presented_at = NULL, first_presented_at = NULL")
                )  # fmt: skip
    other.dispose()
