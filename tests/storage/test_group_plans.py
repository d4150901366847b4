"""How Postgres finds the rows of a group: by the primary key, in one plan for groups of every size."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest

from storage.direct import Direct
from storage.tokens.claim_statements import CLAIM_GROUP
from storage.tokens.claims import _claimed_in_group
from storage.tokens.groups import Groups, WantedClaim
from storage.tokens.landing_statements import LAND_GROUP
from tests.storage.making import LEASE, Bench, due_schedule, landing
from tests.storage.test_due import nodes

GROUPS: Final = {"claim": CLAIM_GROUP, "landing": LAND_GROUP}
_FILL: Final = """
    WITH made AS (
        INSERT INTO connections (id, user_id, provider_id)
        SELECT gen_random_uuid(), 'u' || n, 'acme' FROM generate_series(%s::int, %s::int) AS n
        RETURNING id)
    INSERT INTO tokens (connection_id, provider_id, grant_id, key_id, access_token, refresh_due_at)
    SELECT id, 'acme', gen_random_uuid(), 'k1', '\\x00'::bytea, now() FROM made
"""


def scans(connection: psycopg.Connection, group: Direct) -> list[dict[str, Any]]:
    """How the plan that every execution uses reads the tables of the product."""
    explained = connection.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {group.text}".encode()).fetchone()
    assert explained is not None
    plan = explained[0][0]["Plan"]
    return [node for node in nodes(plan) if "Relation Name" in node and "Scan" in node["Node Type"]]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("analyzed_at", [3000, 20, 0], ids=["fresh", "stale", "no"])
def test_a_group_finds_its_rows_by_the_primary_key(
    migrated_database_url: str, name: str, analyzed_at: int
) -> None:
    """With fresh statistics, with those of a table that was tiny, and without any."""
    with psycopg.connect(migrated_database_url, autocommit=True) as connection:
        if analyzed_at:
            connection.execute(_FILL, (1, analyzed_at))
            connection.execute("ANALYZE tokens, connections")
        connection.execute(_FILL, (analyzed_at + 1, 3000))

        found = scans(connection, GROUPS[name])

    assert {(node["Node Type"], node["Index Name"]) for node in found} <= {
        ("Index Scan", "pk_tokens"),
        ("Index Scan", "pk_connections"),
    }
    # Once to lock the row, and once to write it.
    assert sum(node["Relation Name"] == "tokens" for node in found) == 2


@pytest.mark.parametrize("size", [1, 32])
def test_a_session_plans_a_group_once(bench: Bench, size: int) -> None:
    """After its first five executions a session stays with one plan, however small the groups are."""
    groups, ids = Groups(bench.engine), [bench.new(str(number)) for number in range(size)]
    for _ in range(12):
        rows = groups._claim_all([WantedClaim(each, uuid4(), "test", LEASE, lambda: False) for each in ids])
        with bench.sealer.pinned() as sealer:
            answers = [
                landing(_claimed_in_group(row), schedule=due_schedule()) for row in rows if row is not None
            ]
            parameters = [bench.store._parameters(answer, sealer) for answer in answers]
        assert len(groups._land_all(parameters)) == size

    with bench.engine.connect() as connection:
        plans = connection.exec_driver_sql(
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements"
            " WHERE statement LIKE 'WITH taken%%' OR statement LIKE 'WITH answers%%'"
        ).all()
    assert [tuple(row) for row in plans] == [(5, 7), (5, 7)]
