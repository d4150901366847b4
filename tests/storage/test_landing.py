"""Landings: nothing received is lost, nothing newer is overwritten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from domain.errors import ServiceUnavailable
from domain.policy import PRESENTED_TWICE
from domain.timing import LONGEST_UNDER_WAY
from domain.token import Credentials, ReauthReason, Status
from storage.alerts import AlertSpec, AlertStore
from storage.engine import make_engine
from storage.importing import Importer
from storage.keys import KeyRing, generate
from storage.schema import SPENT_KEPT
from storage.sealing import Sealer
from storage.tokens.claims import ClaimCondition
from storage.tokens.landing import AlreadyLanded, Gone, Landed, Superseded
from storage.tokens.store import TokenStore
from tests.storage.grouping import unconfirmed_commits
from tests.storage.making import Bench, landing, now, pair

#: Whatever another attempt had presented has come to its end.
RIVAL_ENDED = "not_before = NULL, lease_owner = NULL, lease_until = NULL"


def alert_about(connection_id: UUID) -> AlertSpec:
    return AlertSpec(
        cause=f"needs_reauth:{connection_id}",
        kind="needs_reauth",
        severity="warning",
        title="Connect again",
        help="Ask the user to connect again.",
        connection_id=connection_id,
    )


def test_an_answer_becomes_the_next_version(bench: Bench) -> None:
    """A landing writes pair, schedule and version, ends lease and presentation, and is recorded."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    answer = landing(claimed)

    result = bench.store.land(answer)

    assert result == Landed(2, was_alerted=False)
    read = bench.store.read(connection_id)
    assert read is not None
    state = read[1]
    assert (state.version, state.status, state.failures) == (2, Status.ACTIVE, 0)
    assert state.refresh_due_at == answer.schedule.refresh_due_at
    assert (state.attempt_id, state.lease_until, state.presented_at, state.first_presented_at) == (None,) * 4
    assert state.committed_attempt_id == answer.attempt_id
    assert state.last_refreshed_at is not None
    assert bench.kinds(connection_id) == ["imported", "refreshed"]
    assert bench.column(connection_id, "cardinality(spent_digests)") == 1


def test_a_repeated_landing_recognises_itself(bench: Bench) -> None:
    """The same answer landed twice, even after the next one, changes nothing the second time."""
    connection_id = bench.new()
    first = landing(bench.claimed(connection_id), "2")
    bench.store.land(first)

    again = bench.store.land(first)
    bench.set(connection_id, "refresh_due_at = clock_timestamp()")
    bench.store.land(landing(bench.claimed(connection_id), "3"))
    much_later = bench.store.land(first)

    assert again == AlreadyLanded(2)
    assert much_later == AlreadyLanded(3)
    assert bench.kinds(connection_id) == ["imported", "refreshed", "refreshed"]
    assert bench.value("SELECT count(*) FROM spare_tokens") == 0


@pytest.mark.parametrize("status", [Status.IN_DOUBT, Status.NEEDS_REAUTH])
def test_a_late_answer_lands_whatever_the_status(bench: Bench, status: Status) -> None:
    """An answer that comes after doubt or death is declared lands, and resolves the alert with an event."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    dead = status is Status.NEEDS_REAUTH
    recorded = bench.store.record_failure(
        bench.failure(
            claimed,
            status=status,
            refresh_due_at=None if dead else now(),
            reauth_reason=ReauthReason.ROTATION_PROBABLY_LOST if dead else None,
            alert=alert_about(connection_id),
        )
    )
    assert recorded

    result = bench.store.land(landing(claimed))

    assert result == Landed(2, was_alerted=True)
    read = bench.store.read(connection_id)
    assert read is not None
    assert (read[1].status, read[1].alerted, read[1].reauth_reason) == (Status.ACTIVE, False, None)
    (alert,) = AlertStore(bench.engine).list()
    assert alert.status == "resolved"
    assert bench.value("SELECT string_agg(event, ' ' ORDER BY id) FROM alert_events") == "opened resolved"


def test_an_answer_for_an_older_version_is_kept_aside(bench: Bench) -> None:
    """When the version has moved on the answer overwrites nothing and becomes one sealed spare."""
    connection_id = bench.new()
    late = bench.claimed(connection_id)
    early = replace(landing(late, "2"), attempt_id=uuid4())
    assert bench.store.land(early) == Landed(2, was_alerted=False)

    first, second = bench.store.land(landing(late, "3")), bench.store.land(landing(late, "3"))

    assert (first, second) == (Superseded(2), AlreadyLanded(2))
    assert bench.value("SELECT count(*) FROM spare_tokens") == 1
    bench.set(connection_id, f"{RIVAL_ENDED}, refresh_due_at = clock_timestamp()")
    assert bench.store.open(bench.claimed(connection_id)) == pair("2")
    assert bench.kinds(connection_id) == ["imported", "refreshed", "answer_superseded"]


def test_an_answer_frees_nobody_elses_lease(bench: Bench) -> None:
    """While another attempt may be presenting the kept refresh token, a landing does not end its lease."""
    connection_id = bench.new()
    dead = bench.claimed(connection_id)
    bench.store.record_failure(bench.failure(dead, status=Status.IN_DOUBT, refresh_due_at=now()))
    other = bench.recover(connection_id)
    assert other is not None
    kept = Credentials(SecretStr("AT-2"), None)

    result = bench.store.land(landing(dead, credentials=kept, keep_refresh=True))

    assert result == Landed(2, was_alerted=False)
    assert bench.column(connection_id, "lease_until") == other.state.lease_until
    bench.set(connection_id, "last_refreshed_at = NULL")
    assert bench.claim(connection_id, ClaimCondition.force()) is None


@pytest.mark.parametrize("given_back", [False, True])
def test_what_has_landed_waits_for_the_presentation_of_somebody_else(bench: Bench, given_back: bool) -> None:
    """The provider may still be working on the other one, its lease over or given back in doubt."""
    connection_id = bench.new()
    dead = bench.claimed(connection_id)
    bench.store.record_failure(bench.failure(dead, status=Status.IN_DOUBT, refresh_due_at=now()))
    other = bench.recover(connection_id)
    assert other is not None
    assert other.state.presented_at is not None
    if given_back:
        bench.store.record_failure(bench.failure(other, status=Status.IN_DOUBT))

    bench.store.land(landing(dead))

    bench.set(connection_id, "last_refreshed_at = NULL, lease_owner = NULL, lease_until = NULL")
    assert bench.column(connection_id, "not_before") == other.state.presented_at + LONGEST_UNDER_WAY
    assert bench.claim(connection_id, ClaimCondition.force()) is None


@pytest.mark.parametrize("fate", ["alone", "rivalled", "refused"])
def test_a_token_that_was_presented_twice_is_remembered_as_such(bench: Bench, fate: str) -> None:
    """Its answer landed, and the other presentation may have made it worthless; the next landing forgets."""
    connection_id = bench.new()
    first = bench.claimed(connection_id)
    if fate != "alone":
        bench.store.record_failure(bench.failure(first, status=Status.IN_DOUBT, refresh_due_at=now()))
        other = bench.recover(connection_id)
        assert other is not None
        if fate == "refused":
            lost = ReauthReason.ROTATION_PROBABLY_LOST
            bench.store.record_failure(
                bench.failure(other, status=Status.NEEDS_REAUTH, refresh_due_at=None, reauth_reason=lost)
            )

    bench.store.land(landing(first))

    remembered = None if fate == "alone" else PRESENTED_TWICE
    assert bench.column(connection_id, "last_error_code") == remembered
    bench.set(
        connection_id, "refresh_due_at = now(), not_before = NULL, lease_owner = NULL, lease_until = NULL"
    )
    bench.store.land(landing(bench.claimed(connection_id), "3"))
    assert bench.column(connection_id, "last_error_code") is None


def test_answers_find_nothing_to_land_on(bench: Bench) -> None:
    """A connection that is gone, connected anew or disconnected takes no answer of the old grant."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)

    assert bench.store.land(replace(landing(claimed), connection_id=uuid4())) == Gone("missing")
    assert bench.store.land(replace(landing(claimed), grant_id=uuid4())) == Gone("other_grant")
    bench.set(connection_id, "status = 'disconnected', refresh_due_at = NULL, check_due_at = NULL")
    assert bench.store.land(landing(claimed)) == Gone("disconnected")
    assert bench.column(connection_id, "version") == 1


def test_an_answer_without_refresh_token_keeps_the_old_one(bench: Bench) -> None:
    """RFC 6749 §6: the old refresh token stays, and is not remembered as spent."""
    connection_id = bench.new()
    kept = Credentials(SecretStr("AT-2"), None)

    bench.store.land(landing(bench.claimed(connection_id), credentials=kept, keep_refresh=True))

    bench.set(connection_id, "refresh_due_at = clock_timestamp()")
    opened = bench.store.open(bench.claimed(connection_id))
    assert opened == Credentials(SecretStr("AT-2"), SecretStr("RT-1"))
    assert bench.column(connection_id, "cardinality(spent_digests)") == 0


def test_a_returned_refresh_token_is_not_spent_although_the_ring_changed(bench: Bench) -> None:
    """A provider that answers the same refresh token under a new first key does not make it a spent one."""
    old, new = generate("old"), generate("new")
    before = Sealer(KeyRing.parse(SecretStr(old)))
    after = Sealer(KeyRing.parse(SecretStr(f"{new},{old}")))
    bench.importer = Importer(bench.engine, before)
    bench.store = TokenStore(bench.engine, after)
    connection_id = bench.new()
    same = Credentials(SecretStr("AT-2"), SecretStr("RT-1"))

    bench.store.land(landing(bench.claimed(connection_id), credentials=same))

    assert bench.column(connection_id, "cardinality(spent_digests)") == 0
    assert bench.column(connection_id, "key_id") == "new"


def test_spent_refresh_tokens_are_remembered_up_to_a_bound(bench: Bench) -> None:
    """The newest spent digests stay, in order, and no more than the bound."""
    connection_id = bench.new()
    for number in range(2, SPENT_KEPT + 5):
        bench.set(connection_id, "refresh_due_at = clock_timestamp()")
        assert isinstance(bench.store.land(landing(bench.claimed(connection_id), str(number))), Landed)

    spent = bench.column(connection_id, "spent_digests")

    assert len(spent) == SPENT_KEPT
    newest = bench.sealer.digest(SecretStr(f"RT-{SPENT_KEPT + 3}"), connection_id)
    assert spent[0] == newest


def test_a_changed_scope_is_stored_with_the_answer(bench: Bench) -> None:
    """Scope goes into the connection's row in the landing's own transaction."""
    connection_id = bench.new()

    bench.store.land(landing(bench.claimed(connection_id), scope=("read", "write")))

    stored = bench.value("SELECT scope FROM connections WHERE id = :id", id=connection_id)
    assert stored == ["read", "write"]


def test_a_commit_whose_answer_was_lost_is_repeated_safely(bench: Bench) -> None:
    """The connection dies after the server has committed; the caller sees a failure, repeats, and is told."""
    connection_id = bench.new()
    answer = landing(bench.claimed(connection_id))

    with unconfirmed_commits(), pytest.raises(ServiceUnavailable, match="the connection is lost"):
        bench.store.land(answer)

    assert bench.store.land(answer) == AlreadyLanded(2)
    assert bench.kinds(connection_id).count("refreshed") == 1


def test_a_terminated_connection_is_replaced_unnoticed(bench: Bench) -> None:
    """Connections that the server ended while they lay in the pool cost the next call nothing."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    bench.value(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()) AS ended"
    )

    assert bench.store.land(landing(claimed)) == Landed(2, was_alerted=False)


def test_a_blocked_landing_is_service_unavailable(bench: Bench, migrated_database_url: str) -> None:
    """A statement that the server cancels is ServiceUnavailable, without parameters, and lands afterwards."""
    connection_id = bench.new()
    answer = landing(bench.claimed(connection_id))
    impatient = make_engine(migrated_database_url, statement_timeout=timedelta(milliseconds=300))
    with bench.engine.begin() as blocking:
        blocking.execute(text("SELECT 1 FROM tokens FOR UPDATE"))
        with pytest.raises(ServiceUnavailable, match="statement timeout") as raised:
            TokenStore(impatient, bench.sealer).land(answer)
    impatient.dispose()

    assert "sealed_by" not in str(raised.value.__cause__).split("SQL:")[0]
    assert bench.store.land(answer) == Landed(2, was_alerted=False)
