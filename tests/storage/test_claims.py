"""Claims: who may present, and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from domain.token import Status
from storage.tokens.claims import ClaimCondition
from tests.storage.making import HOUR, LEASE, Bench, fresh_schedule, landing, now, pair

MINUTE = timedelta(minutes=1)


def test_a_claim_stamps_lease_attempt_and_presentation(bench: Bench) -> None:
    """A claim returns the row as stamped, with Postgres' time, and its credentials open only on request."""
    connection_id, attempt_id = bench.new(), uuid4()

    claimed = bench.claimed(connection_id, attempt_id=attempt_id)

    assert claimed.ref.user_id == "user-1"
    assert claimed.ref.metadata == {"plan": "a"}
    assert claimed.scope == ("read",)
    state = claimed.state
    assert (state.status, state.version, state.attempt_id) == (Status.ACTIVE, 1, attempt_id)
    assert state.presented_at is not None
    assert state.presented_at == state.first_presented_at
    assert state.lease_until is not None
    assert LEASE - timedelta(seconds=1) < state.lease_until - claimed.now <= LEASE
    assert claimed.now.utcoffset() == timedelta(0)
    assert "AT-1" not in repr(claimed)
    assert bench.store.open(claimed) == pair("1")


def test_one_of_fifty_gets_the_claim(bench: Bench) -> None:
    """Fifty threads that claim the same token at once yield one lease."""
    connection_id = bench.new()
    barrier = threading.Barrier(50)

    def claim(_: int) -> bool:
        barrier.wait(timeout=60)
        return bench.claim(connection_id) is not None

    with ThreadPoolExecutor(50) as pool:
        won = list(pool.map(claim, range(50)))

    assert won.count(True) == 1


ALWAYS = ClaimCondition.force()


@pytest.mark.parametrize(
    ("bent", "when", "taken"),
    [
        ("status = status", ClaimCondition.scheduled(), True),
        ("refresh_due_at = now() + interval '1 minute'", ClaimCondition.scheduled(), False),
        ("refresh_due_at = NULL", ClaimCondition.scheduled(), False),
        ("refresh_due_at = now() + interval '1 minute'", ALWAYS, True),
        ("refresh_due_at = NULL, check_due_at = NULL, status = 'needs_reauth'", ALWAYS, False),
        ("refresh_due_at = NULL, check_due_at = NULL, status = 'disconnected'", ALWAYS, False),
        ("status = 'in_doubt', first_presented_at = now()", ALWAYS, False),
        ("refreshable = false", ALWAYS, False),
        ("not_before = now() + interval '1 minute'", ALWAYS, False),
        ("not_before = now() - interval '1 second'", ALWAYS, True),
        ("lease_owner = 'x', lease_until = now() + interval '1 minute'", ALWAYS, False),
        ("lease_owner = 'x', lease_until = now() - interval '1 second'", ALWAYS, True),
        # The lease has lapsed with the presentation unresolved: that is doubt, and never claimed this way.
        (
            (
                "lease_owner = 'x', lease_until = now() - interval '1 second', "
                "attempt_id = gen_random_uuid(), presented_at = now(), first_presented_at = now()"
            ),
            ALWAYS,
            False,
        ),
        ("last_refreshed_at = now() - interval '50 seconds'", ALWAYS, False),
        ("last_refreshed_at = now() - interval '61 seconds'", ALWAYS, True),
        # Half of a lifetime of forty seconds is the minimum interval.
        (
            (
                "last_refreshed_at = now() - interval '25 seconds', "
                "issued_at = now() - interval '25 seconds', expires_at = now() + interval '15 seconds'"
            ),
            ALWAYS,
            True,
        ),
        ("last_refreshed_at = now()", ClaimCondition.scheduled(), True),
        ("version = 7", ClaimCondition.if_version(7), True),
        ("version = 8", ClaimCondition.if_version(7), False),
        ("version = 7, last_refreshed_at = now()", ClaimCondition.if_version(7), False),
        (
            "refresh_due_at = now() + interval '9 hours', expires_at = now() + interval '50 s'",
            ClaimCondition.on_demand(MINUTE),
            True,
        ),
        # Due and about to expire, and still not before the minimum interval is over.
        (
            "last_refreshed_at = now() - interval '50 s', expires_at = now() + interval '50 s'",
            ClaimCondition.on_demand(MINUTE),
            False,
        ),
        (
            "last_refreshed_at = now() - interval '61 s', expires_at = now() + interval '50 s'",
            ClaimCondition.on_demand(MINUTE),
            True,
        ),
        (
            "refresh_due_at = now() + interval '9 hours', expires_at = now() + interval '70 s'",
            ClaimCondition.on_demand(MINUTE),
            False,
        ),
        # More validity than half the lifetime cannot be asked for.
        (
            (
                "refresh_due_at = now() + interval '9 hours', issued_at = now(), "
                "expires_at = now() + interval '1 hour'"
            ),
            ClaimCondition.on_demand(2 * HOUR),
            False,
        ),
        (
            "refresh_due_at = now() + interval '9 hours', expires_at = NULL",
            ClaimCondition.on_demand(HOUR),
            False,
        ),
        ("expires_at = NULL", ClaimCondition.on_demand(HOUR), True),
    ],
)
def test_who_may_be_claimed(bench: Bench, bent: str, when: ClaimCondition, taken: bool) -> None:
    """Each condition of a claim decides, one at a time."""
    connection_id = bench.new()
    bench.set(connection_id, bent)

    assert (bench.claim(connection_id, when) is not None) is taken


def test_a_forced_claim_is_found_by_the_scheduler_should_its_worker_die(bench: Bench) -> None:
    """A claim ahead of its time makes the row due, so that a lapsed lease is discovered."""
    connection_id = bench.new(schedule=fresh_schedule())

    claimed = bench.claim(connection_id, ClaimCondition.force())

    assert claimed is not None
    assert claimed.state.refresh_due_at is not None
    assert claimed.state.refresh_due_at <= claimed.now


def test_a_released_claim_leaves_no_trace(bench: Bench) -> None:
    """Nothing was sent: the next claim may have the token at once, or when the release said."""
    connection_id = bench.new()
    first = bench.claimed(connection_id)
    later = now() + MINUTE

    assert bench.store.release(connection_id, first.state.attempt_id or UUID(int=0))
    second = bench.claimed(connection_id)
    assert not bench.store.release(connection_id, first.state.attempt_id or UUID(int=0))
    assert bench.store.release(connection_id, second.state.attempt_id or UUID(int=0), refresh_due_at=later)

    read = bench.store.read(connection_id)
    assert read is not None
    state = read[1]
    assert (state.presented_at, state.first_presented_at, state.attempt_id, state.lease_until) == (None,) * 4
    assert state.refresh_due_at == later


def test_a_lapsed_lease_becomes_doubt_and_is_recovered_once_at_a_time(bench: Bench) -> None:
    """Doubt keeps its beginning through recovery, and shows that it has been presented again."""
    connection_id = bench.new()
    dead = bench.claimed(connection_id)
    attempt_id = dead.state.attempt_id or UUID(int=0)
    recover_at = now() - timedelta(seconds=1)

    assert not bench.store.mark_lapsed(connection_id, attempt_id=attempt_id, recover_at=recover_at)
    bench.set(connection_id, "lease_until = clock_timestamp() - interval '1 second'")
    assert not bench.store.mark_lapsed(connection_id, attempt_id=uuid4(), recover_at=recover_at)
    assert bench.store.mark_lapsed(connection_id, attempt_id=attempt_id, recover_at=recover_at)
    assert not bench.store.mark_lapsed(connection_id, attempt_id=attempt_id, recover_at=recover_at)
    again = bench.recover(connection_id)
    third = bench.recover(connection_id)

    assert third is None
    assert again is not None
    assert again.state.status is Status.IN_DOUBT
    assert again.state.first_presented_at == dead.state.first_presented_at
    assert again.state.presented_at != again.state.first_presented_at
    assert bench.kinds(connection_id) == ["imported", "in_doubt"]


def test_a_doubt_is_claimed_as_it_was_read(bench: Bench) -> None:
    """A recovery that somebody began and let lapse since has a settling time that nobody has looked at."""
    connection_id = bench.new()
    dead = bench.claimed(connection_id)
    bench.store.record_failure(bench.failure(dead, status=Status.IN_DOUBT, refresh_due_at=now()))
    seen = dead.state.attempt_id
    again = bench.recover(connection_id)
    assert again is not None
    bench.set(connection_id, "lease_until = clock_timestamp() - interval '1 second'")

    assert bench.recover(connection_id, seen=seen) is None
    assert bench.recover(connection_id, seen=None) is None
    assert bench.store.release(connection_id, again.state.attempt_id or UUID(int=0)) is True
    assert bench.recover(connection_id, seen=again.state.attempt_id) is None
    assert bench.recover(connection_id, seen=None) is not None


def test_a_released_recovery_leaves_the_doubt(bench: Bench) -> None:
    """A recovery that sent nothing does not end the doubt that somebody else left."""
    connection_id = bench.new()
    dead = bench.claimed(connection_id)
    bench.store.record_failure(bench.failure(dead, status=Status.IN_DOUBT, refresh_due_at=now()))
    again = bench.recover(connection_id)
    assert again is not None

    assert bench.store.release(connection_id, again.state.attempt_id or UUID(int=0))

    read = bench.store.read(connection_id)
    assert read is not None
    assert read[1].status is Status.IN_DOUBT
    assert read[1].first_presented_at == dead.state.first_presented_at


def test_a_frozen_holder_that_sent_nothing_ends_its_own_doubt(bench: Bench) -> None:
    """A lease that lapsed before the send is no doubt once its holder says so; the refresh is due again."""
    connection_id = bench.new()
    frozen = bench.claimed(connection_id)
    attempt_id = frozen.state.attempt_id or UUID(int=0)
    bench.set(connection_id, "lease_until = clock_timestamp() - interval '1 second'")
    assert bench.store.mark_lapsed(connection_id, attempt_id=attempt_id, recover_at=now() + HOUR)

    assert bench.store.release(connection_id, attempt_id)

    read = bench.store.read(connection_id)
    assert read is not None
    assert (read[1].status, read[1].first_presented_at) == (Status.ACTIVE, None)
    assert bench.claim(connection_id) is not None


def test_find_names_the_connection(bench: Bench) -> None:
    """A connection is found by user, provider and account, and nothing else is."""
    connection_id = bench.new(account_id="second")

    assert bench.store.find("user-1", "acme", "second") == connection_id
    assert bench.store.find("user-1", "acme", "third") is None
    assert bench.store.find("user-2", "acme") is None
    assert bench.store.read(uuid4()) is None


def test_an_answer_frees_the_token(bench: Bench) -> None:
    """After a landing the next due refresh can be claimed at the next version."""
    connection_id = bench.new()
    bench.store.land(landing(bench.claimed(connection_id)))
    bench.set(connection_id, "refresh_due_at = clock_timestamp()")

    again = bench.claimed(connection_id)

    assert again.state.version == 2
    assert bench.store.open(again) == pair("2")
