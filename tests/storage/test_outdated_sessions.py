"""Sessions whose prepared statements were overtaken are replaced: a migration needs no restart."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest

from domain.errors import ServiceUnavailable
from storage.direct import Direct, direct
from storage.tokens.claim_statements import CLAIM_GROUP
from tests.storage.making import Bench, landing

#: What another process does to the statements of ours, and to the session that has prepared them.
RETYPED = "ALTER TABLE tokens ALTER COLUMN last_error_code TYPE varchar(200)"


def sessions(bench: Bench) -> int:
    with direct(bench.engine) as connection:
        return connection.info.backend_pid


def test_groups_go_on_after_a_column_has_changed_its_type(
    bench: Bench, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One claim is made alone; the next is the group's again, in a session that knows the column."""
    bench.claimed(bench.new("1"))
    failed: list[str] = []
    run = Direct.run

    def watched(
        self: Direct, connection: psycopg.Connection, parameters: dict[str, object]
    ) -> list[tuple[object, ...]]:
        try:
            return run(self, connection, parameters)
        except psycopg.Error as error:
            failed.append(type(error).__name__)
            raise

    monkeypatch.setattr(Direct, "run", watched)
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(RETYPED)

    for number in range(2, 6):
        bench.store.land(landing(bench.claimed(bench.new(str(number)))))

    assert failed == ["FeatureNotSupported"]


def test_groups_go_on_after_their_statements_were_discarded(bench: Bench) -> None:
    bench.claimed(bench.new("1"))
    with direct(bench.engine) as connection:
        before = connection.info.backend_pid
        connection.pgconn.exec_(b"DEALLOCATE ALL")

    bench.claimed(bench.new("2"))

    assert sessions(bench) != before
    with direct(bench.engine) as connection:
        assert CLAIM_GROUP.run(connection, dict.fromkeys(CLAIM_GROUP.names, "{}")) == []


def test_single_statements_go_on_after_a_column_has_changed_its_type(
    bench: Bench, migrated_database_url: str
) -> None:
    """The one that hears of it may be repeated, and is served by a new session."""
    connection_id = bench.new()
    for _ in range(8):  # psycopg prepares what it has been given more than five times
        bench.store.read(connection_id)
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute(RETYPED)

    with suppress(ServiceUnavailable):
        bench.store.read(connection_id)
    assert bench.store.read(connection_id) is not None
