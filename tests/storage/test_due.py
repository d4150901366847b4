"""Marking what is due: in order, disjoint, within room, and without a look at what is not due."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from domain.token import Status
from storage.activity import Note
from storage.engine import make_engine
from storage.tokens import due
from storage.tokens.due import DueToken
from storage.tokens.store import TokenStore
from tests.storage.making import Bench, a_sealer, landing, now
from tests.support.servers import create_database, drop_database
from workers.embedded.postgres import EmbeddedPostgres

MARK = timedelta(seconds=30)
WORKS: tuple[due.Work, ...] = ("refresh", "check")


def make_due(bench: Bench, count: int, *, provider_id: str = "acme") -> list[UUID]:
    """Connections due one second after the other, the first one longest ago."""
    made = []
    for number in range(count):
        connection_id = bench.new(f"{provider_id}-{number}", provider_id=provider_id)
        bench.set(connection_id, "refresh_due_at = now() - make_interval(secs => :s)", s=1000 - number)
        made.append(connection_id)
    return made


def ids(marked: list[DueToken]) -> list[UUID]:
    return [token.connection_id for token in marked]


def test_the_longest_due_come_first_and_once(bench: Bench) -> None:
    """Marking returns tokens in the order of urgency, not again within the mark, and again when unmarked."""
    made = make_due(bench, 4)

    first = bench.store.mark_due_refreshes({"acme": 10}, total=2, mark=MARK)
    second = bench.store.mark_due_refreshes({"acme": 10}, total=10, mark=MARK)
    third = bench.store.mark_due_refreshes({"acme": 10}, total=10, mark=MARK)
    bench.store.unmark(made[:1])
    fourth = bench.store.mark_due_refreshes({"acme": 10}, total=10, mark=MARK)

    assert [ids(first), ids(second), ids(third), ids(fourth)] == [made[:2], made[2:], [], made[:1]]
    assert first[0].lateness >= timedelta(seconds=1000)
    assert first[0].due_at < first[1].due_at


def test_each_provider_gets_its_room_and_all_of_them_the_total(bench: Bench) -> None:
    """A provider without room is left alone, and the total is spent on the most urgent of all."""
    slow, held = make_due(bench, 4, provider_id="slow"), make_due(bench, 2, provider_id="held")
    urgent = make_due(bench, 2, provider_id="urgent")
    for connection_id in urgent:
        bench.set(connection_id, "refresh_due_at = refresh_due_at - interval '1 hour'")

    marked = bench.store.mark_due_refreshes({"slow": 3, "held": 0, "urgent": 9}, total=4, mark=MARK)
    rest = bench.store.mark_due_refreshes({"slow": 3}, total=9, mark=MARK)

    assert ids(marked) == [*urgent, *slow[:2]]
    assert ids(rest) == slow[2:]
    assert set(held).isdisjoint(ids(marked))


def test_whose_expiry_is_nearest_comes_first_over_providers(bench: Bench) -> None:
    """A short-lived token that is due later goes before others that have time; of one provider none does."""
    set_ = {"long": (300, 900), "short": (100, 30), "weeks": (200, 10**6), "unknown": (250, None)}
    made = {}
    for name, (due_ago, expires_in) in set_.items():
        made[name] = bench.new(name, provider_id=name)
        bench.set(made[name], "refresh_due_at = now() - make_interval(secs => :s)", s=due_ago)
        bench.set(made[name], "expires_at = now() + make_interval(secs => :s)", s=expires_in)
    rooms = dict.fromkeys(set_, 9)

    first = bench.store.mark_due_refreshes(rooms, total=1, mark=MARK)
    rest = bench.store.mark_due_refreshes(rooms, total=9, mark=MARK)

    # Ten minutes are assumed where the expiry is unknown, and nobody waits an hour longer for having weeks.
    assert ids([*first, *rest]) == [made[name] for name in ("short", "unknown", "long", "weeks")]
    of_one = make_due(bench, 3, provider_id="one")
    bench.set(of_one[2], "expires_at = now() + interval '1 second'")
    assert ids(bench.store.mark_due_refreshes({"one": 2}, total=9, mark=MARK)) == of_one[:2]


def test_retries_do_not_push_in_and_doubts_keep_their_time(bench: Bench) -> None:
    """An expired token that fails again and again waits its turn; a recovery is made when it is due."""
    healthy, retry, doubt = (bench.new(name, provider_id=name) for name in ("healthy", "retry", "doubt"))
    bench.set(healthy, "expires_at = now() + interval '5 minutes'")
    bench.set(retry, "failures = 3, expires_at = now() - interval '1 hour'")
    bench.claimed(doubt)
    bench.set(doubt, "status = 'in_doubt', lease_until = NULL")
    for connection_id, due_ago in ((healthy, 60), (retry, 50), (doubt, 40)):
        bench.set(connection_id, "refresh_due_at = now() - make_interval(secs => :s)", s=due_ago)

    marked = bench.store.mark_due_refreshes({"healthy": 1, "retry": 1, "doubt": 1}, total=3, mark=MARK)

    assert ids(marked) == [doubt, healthy, retry]


def test_what_is_being_worked_on_is_not_marked(bench: Bench) -> None:
    """A leased token and one that is not due are skipped; one in doubt whose recovery is due is not."""
    leased, fresh, doubted = make_due(bench, 3)
    bench.claimed(leased)
    bench.store.land(landing(bench.claimed(fresh)))
    bench.store.record_failure(
        bench.failure(bench.claimed(doubted), status=Status.IN_DOUBT, refresh_due_at=now())
    )

    assert ids(bench.store.mark_due_refreshes({"acme": 10}, total=10, mark=MARK)) == [doubted]


def test_checks_have_marks_of_their_own(bench: Bench) -> None:
    """A token due for both is marked for both, each once."""
    (connection_id,) = make_due(bench, 1)
    bench.set(connection_id, "check_due_at = now()")

    for work in ("mark_due_refreshes", "mark_due_checks"):
        mark = getattr(bench.store, work)
        assert ids(mark({"acme": 10}, total=10, mark=MARK)) == [connection_id]
        assert mark({"acme": 10}, total=10, mark=MARK) == []
    bench.store.unmark([connection_id], "check")
    assert ids(bench.store.mark_due_checks({"acme": 10}, total=10, mark=MARK)) == [connection_id]


def test_a_row_that_somebody_writes_is_not_waited_for(bench: Bench) -> None:
    """A scheduler skips what another transaction holds, and takes the rest at once."""
    held, free = make_due(bench, 2)
    with bench.engine.begin() as connection:
        connection.execute(text("SELECT 1 FROM tokens WHERE connection_id = :id FOR UPDATE"), {"id": held})

        assert ids(bench.store.mark_due_refreshes({"acme": 10}, total=10, mark=MARK)) == [free]


@pytest.fixture(scope="module")
def crowded_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a database with 200,000 tokens at four providers, a hundredth of them due."""
    name = f"test_{secrets.token_hex(6)}"
    url = create_database(postgres_server.url, name, template=migrated_template)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            WITH made AS (
                INSERT INTO connections (id, user_id, provider_id)
                SELECT gen_random_uuid(), 'u' || n, 'p' || n % 4 FROM generate_series(1, 200000) AS n
                RETURNING id, provider_id)
            INSERT INTO tokens (connection_id, provider_id, grant_id, key_id, access_token,
                                refresh_due_at, check_due_at)
            SELECT id, provider_id, gen_random_uuid(), 'k1', '\\x00'::bytea,
                   now() + (random() - 0.01) * interval '1 hour',
                   now() + (random() - 0.01) * interval '1 day'
              FROM made
        """)
        connection.execute("VACUUM ANALYZE tokens")
    yield url
    drop_database(postgres_server.url, name)


@pytest.fixture
def crowded(crowded_url: str) -> Iterator[TokenStore]:
    engine = make_engine(crowded_url, pool_size=8, statement_timeout=timedelta(minutes=2))
    yield TokenStore(engine, a_sealer())
    engine.dispose()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def marking_plan(connection: psycopg.Connection, work: due.Work, plan_cache: str) -> dict[str, Any]:
    """The plan of marking 1,000 tokens, as it was executed; nothing stays marked."""
    # What psycopg prepares is the same statement, with the server's names for parameters.
    statement = str(due._MARK[work])
    for place, name in enumerate(("providers", "tenants", "rooms", "held", "total", "mark"), start=1):
        statement = re.sub(rf":{name}\b", f"${place}", statement)
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL plan_cache_mode = {plan_cache}".encode())
        types = "text[], text[], int[], text[], int, interval"
        connection.execute(f"PREPARE marking ({types}) AS {statement}".encode())
        explained = connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE marking "
            "('{p0,p1,p2,p3}', '{NULL,NULL,NULL,NULL}', '{300,300,300,300}', '{p0|t}', 1000, '30 seconds')"
        ).fetchone()
        connection.execute("DEALLOCATE marking")
    assert explained is not None
    plan: dict[str, Any] = explained[0][0]["Plan"]
    return plan


def test_concurrent_schedulers_get_disjoint_sets(crowded: TokenStore) -> None:
    """Eight schedulers that mark at once never get the same token, and together all that is due."""
    barrier = threading.Barrier(8)
    rooms = {f"p{number}": 1000 for number in range(4)}

    def schedule(_: int) -> list[UUID]:
        barrier.wait(timeout=60)
        marked: list[UUID] = []
        while found := crowded.mark_due_refreshes(rooms, total=100, mark=timedelta(hours=1)):
            marked += ids(found)
        return marked

    with ThreadPoolExecutor(8) as pool:
        sets = list(pool.map(schedule, range(8)))

    everything = [connection_id for one in sets for connection_id in one]
    assert len(everything) == len(set(everything))
    assert len(everything) >= 1800
    assert sum(bool(one) for one in sets) > 1


def test_marking_never_scans_the_table(crowded_url: str) -> None:
    """Whether a hundredth or all of the table is due, the plan reads about as many rows as are marked."""
    with psycopg.connect(crowded_url, autocommit=True) as connection:
        connection.execute("UPDATE tokens SET refresh_enqueued_until = NULL WHERE refresh_due_at < now()")
        for everything_due in (False, True):
            if everything_due:
                connection.execute(
                    "UPDATE tokens SET refresh_due_at = now() - random() * interval '1 hour', "
                    "check_due_at = now() - random() * interval '1 hour'"
                )
            connection.execute("VACUUM ANALYZE tokens")
            for work, plan_cache in itertools.product(WORKS, ("force_custom_plan", "force_generic_plan")):
                plan = marking_plan(connection, work, plan_cache)

                at_tokens = [node for node in nodes(plan) if node.get("Relation Name") == "tokens"]
                scans = {node["Node Type"] for node in at_tokens if "Scan" in node["Node Type"]}
                assert scans <= {"Index Scan", "Bitmap Heap Scan"}, (everything_due, work, plan_cache)
                read = max(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan))
                assert read <= 1200, (everything_due, work, plan_cache)


def test_the_pace_is_of_all_that_ended_lately(bench: Bench) -> None:
    """Refreshes and failures of the last seconds, by kind of work; nothing lately is no pace."""
    assert (bench.store.pace("refresh"), bench.store.pace("check")) == (0.0, 0.0)
    landed, failed, old = make_due(bench, 3)
    bench.store.land(landing(bench.claimed(old)))
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE activity SET at = at - interval '10 seconds'"))
    assert bench.store.pace("refresh") == 0.0

    bench.store.land(landing(bench.claimed(landed)))
    bench.store.record_failure(bench.failure(bench.claimed(failed), note=Note("refresh_failed", "x")))
    with bench.engine.begin() as connection:
        # As if this moment: however long the test takes, they are not older.
        connection.execute(
            text("UPDATE activity SET at = now() + interval '1 hour' WHERE at > now() - '9 s'::interval")
        )

    assert bench.store.pace("refresh") == 2.0
    assert bench.store.pace("check") == 0.0
