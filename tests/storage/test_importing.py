"""Imports: what is created, left alone, replaced and refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from pydantic import SecretStr

from domain.token import Credentials, Status
from storage.connections import ConnectionStore
from storage.importing import ImportResult, NewConnection
from storage.statistics import fleet_statistics
from storage.tokens.landing import Gone
from tests.storage.making import Bench, due_schedule, fresh_schedule, landing, pair
from tests.storage.test_landing import alert_about

LINE = NewConnection("user-1", "acme", pair("1"), due_schedule(), refreshable=True, scope=("read",))


def test_an_existing_connection_keeps_its_credentials(bench: Bench) -> None:
    """A second import updates scope and metadata and reports the credentials as kept."""
    (created,) = bench.importer.import_batch([LINE])
    (same,) = bench.importer.import_batch([LINE])
    other = replace(LINE, credentials=pair("other"), scope=("write",), metadata={"a": [1, None]})
    (kept,) = bench.importer.import_batch([other])

    assert created.outcome == "created"
    assert same == ImportResult("kept", created.connection_id)
    assert kept == ImportResult("kept", created.connection_id, details_changed=True)
    assert created.connection_id is not None
    assert bench.store.open(bench.claimed(created.connection_id)) == pair("1")
    shown = ConnectionStore(bench.engine).show(created.connection_id)
    assert shown is not None
    assert (shown[0].scope, shown[0].metadata) == (("write",), {"a": [1, None]})
    assert [line.kind for line in shown[1]] == ["imported"]


@pytest.mark.parametrize("dead", [True, False])
def test_a_new_grant_replaces_a_dead_one_or_on_request(bench: Bench, dead: bool) -> None:
    """The replaced grant's alerts are resolved, and its late answer finds nothing to land on."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    bench.set(connection_id, "refused_at = now()")
    if dead:
        failure = bench.failure(
            claimed, status=Status.NEEDS_REAUTH, refresh_due_at=None, alert=alert_about(connection_id)
        )
        assert bench.store.record_failure(failure)

    line = replace(LINE, credentials=pair("new"))
    (result,) = bench.importer.import_batch([line], replace_credentials=not dead)

    assert result == ImportResult("replaced", connection_id, details_changed=True)
    assert bench.store.land(landing(claimed)) == Gone("other_grant")
    again = bench.claimed(connection_id)
    assert again.state.refused_at is None
    assert bench.store.open(again) == pair("new")
    assert (again.state.version, again.state.status, again.state.alerted) == (2, Status.ACTIVE, False)
    assert bench.value("SELECT count(*) FROM alerts WHERE status <> 'resolved'") == 0
    assert bench.kinds(connection_id)[-1] == "credentials_replaced"


@pytest.mark.parametrize("status", ["active", "needs_reauth"])
def test_a_spent_refresh_token_is_always_refused(bench: Bench, status: str) -> None:
    """What the grant has already rotated away is not taken back, not even for a dead grant on request."""
    connection_id = bench.new()
    bench.store.land(landing(bench.claimed(connection_id)))
    bench.set(connection_id, "status = :s, refresh_due_at = NULL, check_due_at = NULL", s=status)

    (result,) = bench.importer.import_batch([replace(LINE, scope=("x",))], replace_credentials=True)

    assert result == ImportResult("refused", connection_id, reason="spent_refresh_token")
    assert bench.column(connection_id, "version") == 2
    assert bench.value("SELECT scope FROM connections WHERE id = :id", id=connection_id) == ["read"]


def test_the_stored_refresh_token_does_not_reset_an_open_presentation(bench: Bench) -> None:
    """Importing the file again while its token is being presented, or is in doubt, keeps what is known."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)

    (result,) = bench.importer.import_batch([LINE], replace_credentials=True)

    assert result.outcome == "kept"
    assert bench.column(connection_id, "attempt_id") == claimed.state.attempt_id


def test_a_key_that_occurs_twice_is_treated_line_by_line(bench: Bench) -> None:
    """Of two lines for one connection the first creates it and the second finds it."""
    bad = replace(LINE, user_id="nul\0")
    surrogate = replace(LINE, metadata={"x": "\ud800"})
    second = replace(LINE, metadata={"b": 2})

    results = bench.importer.import_batch([LINE, bad, second, surrogate, replace(LINE, account_id="2")])

    assert [result.outcome for result in results] == ["created", "refused", "kept", "refused", "created"]
    assert results[1].reason == "unstorable_text"
    assert results[2] == ImportResult("kept", results[0].connection_id, details_changed=True)


def test_concurrent_imports_of_the_same_file_create_each_once(bench: Bench) -> None:
    """Importers that race neither fail nor deadlock nor create twice."""
    lines = [replace(LINE, user_id=f"user-{number}") for number in range(300)]
    barrier = threading.Barrier(4)

    def run(number: int) -> list[ImportResult]:
        barrier.wait(timeout=60)
        turned = lines[number * 50 :] + lines[: number * 50]
        return bench.importer.import_batch(turned)

    with ThreadPoolExecutor(4) as pool:
        results = [result for run_results in pool.map(run, range(4)) for result in run_results]

    created: list[UUID | None] = [r.connection_id for r in results if r.outcome == "created"]
    assert len(created) == len(set(created)) == 300
    assert sum(result.outcome == "kept" for result in results) == 900


def test_listing_pages_and_filters(bench: Bench) -> None:
    """A listing crosses its pages in order, each connection once, and filters by user, provider, status."""
    lines = [replace(LINE, user_id=f"user-{number:04}") for number in range(2500)]
    results = bench.importer.import_batch([*lines, replace(LINE, provider_id="other")])
    dead = results[7].connection_id
    assert dead is not None
    bench.set(dead, "status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL")
    store = ConnectionStore(bench.engine)

    listed = list(store.list())

    assert len(listed) == 2501
    assert [row.user_id for row in listed] == sorted(row.user_id for row in listed)
    assert [row.id for row in store.list(status=Status.NEEDS_REAUTH)] == [dead]
    assert [row.provider_id for row in store.list(user_id="user-1")] == ["other"]
    assert len(list(store.list(provider_id="other"))) == 1
    assert store.show(UUID(int=0)) is None


def test_statistics_tell_what_is_due_overdue_and_expired(bench: Bench) -> None:
    """Counts by provider and status, and the longest lateness, at one instant."""
    assert fleet_statistics(bench.engine).providers == ()
    bench.new("late")
    expired = bench.new("expired")
    bench.set(expired, "refresh_due_at = now() - interval '1 minute', expires_at = now(), failures = 2")
    bench.new("fresh", provider_id="other", schedule=fresh_schedule())
    dead = bench.new("dead", provider_id="other")
    bench.set(dead, "status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL")

    fleet = fleet_statistics(bench.engine)

    acme, other = fleet.providers
    assert (acme.by_status, acme.due, acme.overdue, acme.expired) == ({"active": 2}, 2, 1, 1)
    assert acme.failing == 1
    assert 60 <= acme.oldest_lateness.total_seconds() < 120
    assert (other.by_status, other.due) == ({"active": 1, "needs_reauth": 1}, 0)
    assert (fleet.due, fleet.overdue, fleet.expired) == (2, 1, 1)
    assert fleet.by_status == {"active": 3, "needs_reauth": 1}
    assert fleet.oldest_lateness == acme.oldest_lateness


def test_a_connection_without_refresh_token_is_imported(bench: Bench) -> None:
    """Client credentials and tokens that never expire have nothing but an access token."""
    line = replace(LINE, credentials=Credentials(SecretStr("AT-only"), None))

    (result,) = bench.importer.import_batch([line])

    assert result.connection_id is not None
    assert bench.store.open(bench.claimed(result.connection_id)) == line.credentials
