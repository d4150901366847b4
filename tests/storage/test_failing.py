"""Failures, spares and health checks: fenced writes of what went wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.errors import KeyMissing
from domain.timing import LONGEST_UNDER_WAY
from domain.token import ReauthReason, Status
from storage.activity import Note
from storage.alerts import AlertSpec, AlertStore
from storage.tokens.checks import CheckRecord
from storage.tokens.claims import ClaimCondition, Claimed
from storage.tokens.landing import Landed, Superseded
from storage.tokens.store import TokenStore
from tests.storage.making import HOUR, Bench, a_sealer, landing, now, pair

ALERT = AlertSpec("cause-1", "needs_reauth", "warning", "Connect again", "Ask the user.")


def test_a_retry_is_scheduled_and_gives_the_lease_back(bench: Bench) -> None:
    """A failure that leaves no doubt clears the presentation and holds the token off until then."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    later = now() + timedelta(seconds=30)

    assert bench.store.record_failure(bench.failure(claimed, refresh_due_at=later, not_before=later))

    read = bench.store.read(connection_id)
    assert read is not None
    state = read[1]
    assert (state.status, state.failures, state.last_error_code) == (Status.ACTIVE, 1, "unavailable")
    assert (state.attempt_id, state.presented_at, state.lease_until) == (None,) * 3
    assert (state.refresh_due_at, state.not_before) == (later, later)
    assert bench.kinds(connection_id) == ["imported", "retry"]


def test_doubt_keeps_its_presentation(bench: Bench) -> None:
    """An unanswered presentation stays with its attempt and its first instant, without a lease."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)

    assert bench.store.record_failure(bench.failure(claimed, status=Status.IN_DOUBT))

    read = bench.store.read(connection_id)
    assert read is not None
    state = read[1]
    assert state.status is Status.IN_DOUBT
    assert (state.attempt_id, state.presented_at) == (claimed.state.attempt_id, claimed.state.presented_at)
    assert (state.first_presented_at, state.lease_until) == (claimed.state.first_presented_at, None)


def test_a_failure_of_a_past_attempt_writes_nothing(bench: Bench) -> None:
    """Once the row has moved on, neither status nor activity nor alert of the old attempt is written."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    bench.store.land(landing(claimed))

    dead = bench.failure(claimed, status=Status.NEEDS_REAUTH, refresh_due_at=None, alert=ALERT)
    recorded = bench.store.record_failure(dead)

    assert not recorded
    assert bench.column(connection_id, "status") == "active"
    assert bench.kinds(connection_id) == ["imported", "refreshed"]
    assert AlertStore(bench.engine).list() == []


def test_a_failure_does_not_end_another_attempts_lease(bench: Bench) -> None:
    """At the same version, an attempt that gave its claim back cannot write over the next holder's."""
    connection_id = bench.new()
    first = bench.claimed(connection_id)
    assert first.state.attempt_id is not None
    bench.store.release(connection_id, first.state.attempt_id)
    second = bench.claimed(connection_id)

    assert not bench.store.record_failure(bench.failure(first))
    assert bench.column(connection_id, "attempt_id") == second.state.attempt_id
    assert bench.column(connection_id, "lease_until") == second.state.lease_until


def test_death_and_its_alert_are_one_transaction(bench: Bench) -> None:
    """A dead grant rests from refreshes and checks, and its alert is in the outbox."""
    connection_id = bench.new()
    claimed = bench.claimed(connection_id)
    dead = bench.failure(
        claimed,
        status=Status.NEEDS_REAUTH,
        refresh_due_at=None,
        reauth_reason=ReauthReason.GRANT_REJECTED,
        alert=ALERT,
    )

    assert bench.store.record_failure(dead)

    read = bench.store.read(connection_id)
    assert read is not None
    state = read[1]
    assert (state.status, state.alerted) == (Status.NEEDS_REAUTH, True)
    assert state.reauth_reason == ReauthReason.GRANT_REJECTED
    assert (state.refresh_due_at, state.check_due_at) == (None, None)
    assert bench.value("SELECT payload ->> 'cause' FROM alert_events WHERE event = 'opened'") == "cause-1"


def test_the_first_refusal_is_remembered_until_a_success(bench: Bench) -> None:
    """A second refusal keeps the first one's time, other failures leave it, a landing clears it."""
    connection_id = bench.new()

    def fail(**changes: Any) -> Any:
        bench.set(connection_id, "refresh_due_at = now(), not_before = NULL")
        assert bench.store.record_failure(bench.failure(bench.claimed(connection_id), **changes))
        return bench.column(connection_id, "refused_at")

    assert fail() is None
    first = fail(refused=True)
    assert first is not None
    assert fail(refused=True) == first
    assert fail() == first
    bench.set(connection_id, "refresh_due_at = now(), not_before = NULL")
    claimed = bench.claimed(connection_id)
    assert claimed.state.refused_at == first
    bench.store.land(landing(claimed))
    assert bench.column(connection_id, "refused_at") is None


def with_spare(bench: Bench) -> Claimed:
    """A claim of version 2, whose grant has the answer "spare" put aside."""
    connection_id = bench.new()
    late = bench.claimed(connection_id)
    assert bench.store.land(replace(landing(late, "2"), attempt_id=uuid4())) == Landed(2, was_alerted=False)
    assert bench.store.land(landing(late, "spare")) == Superseded(2)
    bench.set(connection_id, "not_before = NULL, lease_owner = NULL, lease_until = NULL")
    bench.set(connection_id, "refresh_due_at = clock_timestamp()")
    return bench.claimed(connection_id)


def promote(bench: Bench, refused: Claimed, **changes: Any) -> bool:
    state = refused.state
    named = {
        "connection_id": refused.ref.connection_id,
        "grant_id": state.grant_id,
        "version": 2,
        "attempt_id": state.attempt_id,
    }
    return bench.store.promote_spare(**{**named, **changes})


def test_a_spare_is_tried_before_the_grant_is_declared_dead(bench: Bench) -> None:
    """The spare becomes the next version, due at once; the refused token is spent; the refusal is void."""
    refused = with_spare(bench)
    connection_id = refused.ref.connection_id
    bench.set(connection_id, "refused_at = now()")

    assert promote(bench, refused)

    assert bench.column(connection_id, "refused_at") is None

    assert not bench.store.record_failure(
        bench.failure(refused, status=Status.NEEDS_REAUTH, refresh_due_at=None)
    )
    promoted = bench.claimed(connection_id)
    assert promoted.state.version == 3
    assert bench.store.open(promoted) == pair("spare")
    assert not promote(bench, refused, version=3)
    assert bench.kinds(connection_id)[-1] == "spare_promoted"


def test_a_spare_waits_for_the_presentation_of_somebody_else(bench: Bench) -> None:
    """The refused attempt had lost its lease, and a recovery is under way: nothing is presented beside it."""
    refused = with_spare(bench)
    connection_id = refused.ref.connection_id
    bench.store.record_failure(bench.failure(refused, status=Status.IN_DOUBT, refresh_due_at=now()))
    rival = bench.recover(connection_id)
    assert rival is not None
    assert rival.state.presented_at is not None

    assert promote(bench, refused)

    read = bench.store.read(connection_id)
    assert read is not None
    ended = rival.state.presented_at + LONGEST_UNDER_WAY
    assert (read[1].version, read[1].not_before, read[1].refresh_due_at) == (3, ended, ended)
    assert bench.claim(connection_id, ClaimCondition.force()) is None


def test_no_spare_is_promoted_behind_the_rows_back(bench: Bench) -> None:
    """Another grant or version, or a spare that was spent since, promotes nothing."""
    refused = with_spare(bench)

    assert not promote(bench, refused, grant_id=uuid4())
    assert not promote(bench, refused, version=1)
    assert not promote(bench, refused, connection_id=uuid4())
    bench.store.land(landing(refused, "spare"))
    assert not promote(bench, refused, version=3)


def checked(bench: Bench, **changes: Any) -> tuple[CheckRecord, bool]:
    connection_id = bench.new()
    begun = bench.store.begin_check(connection_id)
    assert begun is not None
    record = CheckRecord(
        connection_id=connection_id,
        grant_id=begun[1].grant_id,
        version=begun[1].version,
        verified=False,
        check_failures=0,
        check_due_at=now() + HOUR,
    )
    record = replace(record, **changes)
    return record, bench.store.record_check(record)


def test_a_healthy_check_is_a_single_quiet_write(bench: Bench) -> None:
    """A confirmation is noted in the row alone; the access token opens without the refresh token."""
    record, recorded = checked(bench, verified=True)

    assert recorded
    read = bench.store.read(record.connection_id)
    begun = bench.store.begin_check(record.connection_id)
    assert read is not None
    assert begun is not None
    assert read[1].last_verified_at is not None
    assert read[1].check_due_at == record.check_due_at
    assert bench.store.open_access(begun[3]).get_secret_value() == "AT-1"
    assert bench.kinds(record.connection_id) == ["imported"]


def test_a_check_that_was_refused_makes_the_refresh_due(bench: Bench) -> None:
    """A 401 causes one refresh at once and no death."""
    record, recorded = checked(
        bench, refresh_now=True, check_failures=1, code="unauthorized", note=Note("check_failed")
    )

    assert recorded
    read = bench.store.read(record.connection_id)
    assert read is not None
    assert read[1].refresh_due_at is not None
    assert read[1].refresh_due_at <= read[2]
    assert (read[1].status, read[1].check_failures) == (Status.ACTIVE, 1)
    assert bench.kinds(record.connection_id) == ["imported", "check_failed"]


def test_a_check_may_declare_death_and_a_later_one_recovery(bench: Bench) -> None:
    """Death by a check opens the alert; a check of recovery resolves it."""
    record, recorded = checked(
        bench, needs_reauth=ReauthReason.TOKEN_REVOKED, alert=ALERT, code="unauthorized"
    )
    assert recorded
    assert bench.column(record.connection_id, "status") == "needs_reauth"
    assert bench.column(record.connection_id, "check_due_at") is None
    assert bench.column(record.connection_id, "alerted")

    recovered = replace(record, needs_reauth=None, alert=None, code=None, resolve_alerts=True, verified=True)

    assert bench.store.record_check(recovered)
    assert not bench.column(record.connection_id, "alerted")
    assert bench.column(record.connection_id, "status") == "active"
    assert bench.column(record.connection_id, "check_due_at") == record.check_due_at


def test_a_verdict_about_an_older_version_is_dropped(bench: Bench) -> None:
    """A check that a refresh overtook changes nothing and alerts nobody."""
    connection_id = bench.new()
    begun = bench.store.begin_check(connection_id)
    assert begun is not None
    bench.store.land(landing(bench.claimed(connection_id)))

    stale = CheckRecord(
        connection_id, begun[1].grant_id, 1, verified=False, check_failures=2, check_due_at=None, alert=ALERT
    )

    assert not bench.store.record_check(stale)
    assert AlertStore(bench.engine).list() == []


def test_a_missing_key_names_itself(bench: Bench) -> None:
    """Opening under another ring raises KeyMissing with the id of the key that is needed."""
    claimed = bench.claimed(bench.new())
    stranger = TokenStore(bench.engine, a_sealer("other"))

    with pytest.raises(KeyMissing, match="'k1'"):
        stranger.open(claimed)
