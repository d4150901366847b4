"""What a refresh costs Postgres: statements, and rows rewritten in place."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from storage.tokens.landing import Landed
from tests.storage.making import Bench, landing
from tests.support.statements import executed


def test_a_refresh_is_two_statements(bench: Bench) -> None:
    """Claim and landing are one statement each; no BEGIN or COMMIT goes over the wire."""
    connection_id = bench.new()
    with executed() as statements:
        claimed = bench.claimed(connection_id)
        bench.store.open(claimed)
        result = bench.store.land(landing(claimed))

    assert isinstance(result, Landed)
    shown = [(statement.split(maxsplit=2)[1], commits) for statement, commits in statements]
    assert shown == [("taken", True), ("answers", True)]


def test_a_mark_and_a_claim_touch_no_index(bench: Bench) -> None:
    """Every update of theirs is heap-only where the page has the room that it keeps for them."""
    made = [bench.new(str(number)) for number in range(200)]
    due, others = made[::10], [connection_id for connection_id in made if connection_id not in made[::10]]
    with bench.engine.begin() as connection:
        connection.execute(
            text("UPDATE tokens SET refresh_due_at = NULL WHERE connection_id = ANY(:ids)"), {"ids": others}
        )

    def figures() -> tuple[int, int]:
        with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'tokens'"
            updates, in_place = connection.execute(text(counted)).one()
            return updates, in_place

    with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM tokens"))
    before = figures()
    bench.store.mark_due_refreshes({"acme": 1000}, total=1000, mark=timedelta(seconds=30))
    for connection_id in due:
        bench.claimed(connection_id)
    bench.store.unmark(due)
    after = figures()

    assert (after[0] - before[0], after[1] - before[1]) == (3 * len(due), 3 * len(due))


def test_marks_and_claims_are_rewritten_in_place(bench: Bench) -> None:
    """Over cycles of mark, claim and landing the first two touch no index, and the table stays its size."""
    made = [bench.new(str(number)) for number in range(200)]

    def cycle() -> None:
        bench.store.mark_due_refreshes({"acme": 1000}, total=1000, mark=timedelta(seconds=30))
        for connection_id in made:
            bench.store.land(landing(bench.claimed(connection_id)))
        with bench.engine.begin() as connection:
            connection.execute(text("UPDATE tokens SET refresh_due_at = clock_timestamp() - interval '1 s'"))

    def figures() -> tuple[int, int, int]:
        with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM tokens"))
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            row = connection.execute(
                text(
                    "SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size('tokens') "
                    "FROM pg_stat_user_tables WHERE relname = 'tokens'"
                )
            ).one()
            return row[0], row[1], row[2]

    # The table first grows to the size at which its pages have room for what a cycle rewrites.
    for _ in range(4):
        cycle()
        before = figures()
    for _ in range(5):
        cycle()
        figures()
    bench.engine.dispose()
    after = figures()

    updates, in_place = after[0] - before[0], after[1] - before[1]
    # Four updates a cycle and row: mark and claim in place, landing and the test's own rescheduling not.
    assert updates == 4 * 5 * len(made)
    assert in_place / updates > 0.45
    assert after[2] <= before[2] * 1.25
