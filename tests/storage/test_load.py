"""The load as Postgres tells it: what is due, what comes due, what was done, and at what cost it is asked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from storage import load
from storage.load import MOST_COMING, MOST_LINES, MOST_OVERDUE, LoadStore
from storage.tokens.due import _PACE
from storage.tokens.landing import Landed
from tests.storage.making import Bench, landing
from tests.storage.test_due import make_due, nodes
from tests.support.servers import create_database, drop_database
from workers.embedded.postgres import EmbeddedPostgres

#: More overdue tokens, and more that come due, than are counted.
STORED = 60_000


def test_due_coming_and_done_are_told_by_provider(bench: Bench) -> None:
    """Leased and held-off tokens are not overdue; ends of attempts count, whatever they came to."""
    overdue = make_due(bench, 6)
    landed, failed, leased = make_due(bench, 3, provider_id="other")
    coming = [bench.new(f"coming-{number}", provider_id="other") for number in range(6)]
    for number, connection_id in enumerate(coming):
        bench.set(connection_id, "refresh_due_at = now() + make_interval(secs => :s)", s=9 * (number + 1))
    bench.set(overdue[0], "not_before = now() + interval '1 hour'")
    bench.set(overdue[1], "expires_at = now() - interval '1 second'")
    assert isinstance(bench.store.land(landing(bench.claimed(landed))), Landed)
    assert bench.store.record_failure(bench.failure(bench.claimed(failed)))
    bench.claimed(leased, owner="worker-1")

    at, (acme, other) = LoadStore(bench.engine).read(["acme", "other"])

    assert (acme.overdue, acme.expired, acme.due_per_second, acme.presenting) == (5, 1, 0.0, ())
    assert acme.oldest is not None
    assert acme.newest is not None
    assert timedelta(seconds=998) < at - acme.oldest < timedelta(seconds=1100)
    assert acme.oldest < acme.newest
    # No failure is written for it: the retry is due in half a minute, and is coming.
    assert (other.overdue, other.presenting) == (0, ("worker-1",))
    assert other.due_per_second == pytest.approx(7 / 60)
    assert acme.done_per_second == 0
    assert other.done_per_second > 0


def test_what_is_counted_up_to_a_bound_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers hold leases of the longest due: those are among the counted, and hide none of the rest."""
    overdue = make_due(bench, 6)
    bench.claimed(overdue[0])
    store = LoadStore(bench.engine)

    monkeypatch.setattr(load, "MOST_OVERDUE", 5)
    _, (cut,) = store.read(["acme"])
    monkeypatch.setattr(load, "MOST_OVERDUE", 7)
    _, (whole,) = store.read(["acme"])

    assert (cut.overdue, cut.exact) == (4, False)
    assert (whole.overdue, whole.exact) == (5, True)


def test_many_providers_share_what_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of many are late, a look costs no more than where a few are."""
    make_due(bench, 6)
    make_due(bench, 6, provider_id="other")
    monkeypatch.setattr(load, "MOST_IN_ALL", 8)

    _, loads = LoadStore(bench.engine).read(["acme", "other"])

    assert [(each.overdue, each.exact) for each in loads] == [(4, False), (4, False)]


def test_a_rate_is_not_bounded_by_what_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than is counted comes due within two seconds, and was done within two seconds."""
    coming = make_due(bench, 20)
    for number, connection_id in enumerate(coming):
        bench.set(connection_id, "refresh_due_at = now() + make_interval(secs => :s)", s=2 + 0.1 * number)
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO activity (at, connection_id, provider_id, kind)"
                " SELECT now() - make_interval(secs => 0.1 * (20 - n)), gen_random_uuid(), 'acme',"
                "        CASE n % 2 WHEN 0 THEN 'refreshed' ELSE 'imported' END"
                "   FROM generate_series(1, 20) AS n"
            )
        )
    monkeypatch.setattr(load, "MOST_COMING", 10)
    monkeypatch.setattr(load, "_LATELY", {**load._LATELY, "most_lines": 10})
    monkeypatch.setattr(load, "MOST_LINES", 10)

    _, (acme,) = LoadStore(bench.engine).read(["acme"])

    # Both depend on how long the test takes; bounded by five seconds they would be 2 and 1 at the most.
    assert acme.due_per_second > 2
    assert acme.done_per_second > 1


def test_expired_is_what_expired_while_it_waited(bench: Bench) -> None:
    """A retry whose token expired before its turn came, or an old import, is no fault of the workers."""
    waited, expired_before = make_due(bench, 2)
    bench.set(waited, "expires_at = refresh_due_at + interval '1 second'")
    bench.set(expired_before, "expires_at = refresh_due_at - interval '1 second'")

    _, (acme,) = LoadStore(bench.engine).read(["acme"])

    assert (acme.overdue, acme.expired) == (2, 1)


def test_only_the_named_providers_are_looked_at(bench: Bench) -> None:
    """None named: nothing is due, and the time is told all the same."""
    make_due(bench, 3)

    at, loads = LoadStore(bench.engine).read([])
    later, (unknown,) = LoadStore(bench.engine).read(["unknown"])

    assert loads == []
    assert at <= later
    assert (unknown.overdue, unknown.oldest, unknown.reserve) == (0, None, None)


@pytest.fixture(scope="module")
def crowded_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a database in which half of the tokens are overdue and the rest comes due this minute."""
    name = f"test_{secrets.token_hex(6)}"
    url = create_database(postgres_server.url, name, template=migrated_template)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""
            WITH made AS (
                INSERT INTO connections (id, user_id, provider_id)
                SELECT gen_random_uuid(), 'u' || n, 'p' FROM generate_series(1, {STORED}) AS n
                RETURNING id, provider_id),
            noted AS (
                INSERT INTO activity (at, connection_id, provider_id, kind)
                SELECT now() - random() * interval '50 seconds', id, provider_id, 'refreshed' FROM made)
            INSERT INTO tokens (connection_id, provider_id, grant_id, key_id, access_token, expires_at,
                                refresh_due_at)
            SELECT id, provider_id, gen_random_uuid(), 'k1', '\\x00'::bytea, now() + interval '10 minutes',
                   now() + (random() - 0.5) * interval '110 seconds'
              FROM made
            """.encode()  # noqa: S608 - our own number
        )
        connection.execute("VACUUM ANALYZE")
    yield url
    drop_database(postgres_server.url, name)


@pytest.mark.parametrize("plan_cache", ["force_custom_plan", "force_generic_plan"])
def test_a_look_is_bounded_and_scans_no_table(crowded_url: str, plan_cache: str) -> None:
    """However much is stored, due or recorded, it reads as many rows as it counts, by their indexes."""
    due = str(load._DUE)
    for place, name in enumerate(("providers", "held", "most_overdue", "ahead", "most_coming"), start=1):
        due = re.sub(rf":{name}\b", f"${place}", due)
    ended = str(load._ENDED)
    for place, name in enumerate(("most_lines", "back", "kinds"), start=1):
        ended = re.sub(rf":{name}\b", f"${place}", ended)
    pace = str(_PACE)
    for place, name in enumerate(("most_lines", "lately", "kinds"), start=1):
        pace = re.sub(rf":{name}\b", f"${place}", pace)
    with psycopg.connect(crowded_url, autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = {plan_cache}".encode())
        connection.execute(f"PREPARE due (text[], text[], int, interval, int) AS {due}".encode())
        connection.execute(f"PREPARE ended (int, interval, text[]) AS {ended}".encode())
        connection.execute(f"PREPARE pace (int, interval, text[]) AS {pace}".encode())
        plans = [
            _explained(connection, call)
            for call in (
                f"due('{{p}}', '{{p|t}}', {MOST_OVERDUE}, '60 seconds', {MOST_COMING})",
                f"ended({MOST_LINES}, '60 seconds', '{{refreshed}}')",
                f"pace({MOST_LINES}, '3 seconds', '{{refreshed}}')",
            )
        ]

    for plan in plans:
        found = [node for node in nodes(plan) if node.get("Relation Name") in {"tokens", "activity"}]
        assert {node["Node Type"] for node in found} <= {"Index Scan", "Index Only Scan"}
        assert found
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in found
        )
        assert read <= MOST_OVERDUE + MOST_COMING


def _explained(connection: psycopg.Connection, call: str) -> dict[str, Any]:
    row = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {call}".encode()).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan
