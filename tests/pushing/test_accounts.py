"""A provider says something of an account: disabled, enabled, sessions ended, a new password."""

from __future__ import annotations

import pytest

from domain.asks import Outcome
from tests.pushing.receiver import Receiver
from tests.services.world import Connected


def due_now(receiver: Receiver, connected: Connected) -> tuple[bool, bool]:
    """Say whether a refresh and a check are due."""
    row = receiver.world.row(connected)
    return tuple(  # type: ignore[return-value]  # two of them
        row[name] is not None and row[name] <= row["now"] for name in ("refresh_due_at", "check_due_at")
    )


def far(receiver: Receiver, connected: Connected) -> None:
    receiver.world.update(
        "refresh_due_at = now() + interval '1 hour', check_due_at = now() + interval '1 hour',"
        " refresh_enqueued_until = now() + interval '1 hour'",
        connected,
    )


def test_a_disabled_account_needs_a_person_and_is_tried_again_when_it_is_enabled(
    receiver: Receiver,
) -> None:
    """account-disabled sets a reason of its own; account-enabled takes it back, and the grant lives on."""
    connected = receiver.connect("sub-1")
    rejected = receiver.connect("sub-1")
    receiver.world.update(
        "status = 'needs_reauth', reauth_reason = 'grant_rejected', refresh_due_at = NULL,"
        " check_due_at = NULL",
        rejected,
    )
    assert receiver.push({"account-disabled": {"reason": "hijacking"}}, sub="sub-1")["status"] == 202
    assert receiver.state(connected) == ("needs_reauth", "account_disabled")
    assert [alert["detail"]["reason"] for alert in receiver.world.alerts()] == ["account_disabled"]

    assert receiver.push({"account-enabled": {}}, sub="sub-1")["status"] == 202

    assert receiver.state(connected) == ("active", None)
    assert receiver.state(rejected) == ("needs_reauth", "grant_rejected")
    assert not receiver.world.alerts()
    assert due_now(receiver, connected) == (True, True)
    assert receiver.world.refresh(connected, services=receiver.services).outcome is Outcome.REFRESHED


def test_a_disabling_that_was_overtaken_by_the_enabling_is_asked_about(receiver: Receiver) -> None:
    """Delivered the other way round, the later statement counts."""
    connected = receiver.connect("sub-1")
    far(receiver, connected)
    (row,) = receiver.world.rows("SELECT extract(epoch FROM clock_timestamp())::bigint AS now")
    receiver.push({"account-enabled": {}}, sub="sub-1", claims={"iat": row["now"] - 10})

    receiver.push({"account-disabled": {}}, sub="sub-1", claims={"iat": row["now"] - 60})

    assert receiver.state(connected) == ("active", None)
    assert due_now(receiver, connected) == (True, True)


@pytest.mark.parametrize("event", ["sessions-revoked", "account-credential-change-required"])
def test_a_grant_that_may_be_hit_is_looked_at_now(receiver: Receiver, event: str) -> None:
    """Refresh and check become due at once, and nobody is told anything yet."""
    connected, other = receiver.connect("sub-1"), receiver.connect("sub-2")
    far(receiver, connected)
    far(receiver, other)

    assert receiver.push({event: {}}, sub="sub-1")["status"] == 202

    assert due_now(receiver, connected) == (True, True)
    assert due_now(receiver, other) == (False, False)
    assert receiver.world.row(connected)["refresh_enqueued_until"] is None
    assert receiver.state(connected) == ("active", None)
    assert not receiver.world.alerts()


def test_looking_waits_for_a_backoff(receiver: Receiver) -> None:
    """A token that may not be presented before an instant is not presented before it."""
    connected = receiver.connect("sub-1")
    far(receiver, connected)
    receiver.world.update("not_before = now() + interval '10 minutes'", connected)

    receiver.push({"sessions-revoked": {}}, sub="sub-1")

    row = receiver.world.row(connected)
    assert row["refresh_due_at"] == row["not_before"]


def test_what_is_looked_at_is_judged_by_the_provider(receiver: Receiver) -> None:
    """After a look, a grant that the provider has ended needs a person in the usual way."""
    connected = receiver.connect("sub-1")
    receiver.push({"sessions-revoked": {}}, sub="sub-1")
    receiver.world.sim.revoke([connected.grant.grant_id])

    assert receiver.world.refresh(connected, services=receiver.services).outcome is Outcome.NEEDS_REAUTH
    assert receiver.state(connected) == ("needs_reauth", "grant_rejected")


def test_a_test_of_the_stream_is_acknowledged(receiver: Receiver) -> None:
    """A verification event is 202 and changes nothing."""
    connected = receiver.connect("sub-1")

    assert receiver.push({"verification": {"state": "hello"}})["status"] == 202

    assert receiver.unchanged(connected)
    assert [(row["kind"], row["outcome"]) for row in receiver.taken()] == [("verification", "nothing")]


@pytest.mark.parametrize(
    "subject",
    [
        {"format": "iss_sub", "iss": "{issuer}", "sub": "sub-1"},
        {"subject_type": "iss_sub", "iss": "{issuer}", "sub": "sub-1"},
        {"subject_type": "id_token_claims", "iss": "{issuer}", "sub": "sub-1", "email": "a@b.example"},
    ],
)
def test_an_account_is_understood_in_each_spelling(receiver: Receiver, subject: dict[str, str]) -> None:
    """RFC 9493's form, and the ones before it."""
    connected = receiver.connect("sub-1")
    named = {**subject, "iss": receiver.issuer}

    receiver.push({"tokens-revoked": {"subject": named}})

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


@pytest.mark.parametrize(
    "subject",
    [
        None,
        "sub-1",
        {},
        {"subject_type": "iss-sub", "iss": "https://other.example/", "sub": "sub-1"},
        {"subject_type": "iss-sub", "sub": "sub-1"},
        {"subject_type": "email", "email": "sub-1", "sub": "sub-1"},
        {"subject_type": "iss-sub", "iss": "{issuer}", "sub": ""},
        {"subject_type": "iss-sub", "iss": "{issuer}", "sub": ["sub-1"]},
    ],
)
def test_a_subject_of_somebody_else_or_nobody_changes_nothing(receiver: Receiver, subject: object) -> None:
    """Only an account of this issuer's is one of ours, and nobody's is not everybody's."""
    connected, untold = receiver.connect("sub-1"), receiver.connect("")
    if isinstance(subject, dict) and subject.get("iss") == "{issuer}":
        subject = {**subject, "iss": receiver.issuer}

    assert receiver.push({"tokens-revoked": {"subject": subject}})["status"] == 202

    assert receiver.unchanged(connected, untold)


def test_an_unknown_event_is_acknowledged(receiver: Receiver) -> None:
    """An event type that nobody here knows is taken, and nothing follows."""
    connected = receiver.connect("sub-1")

    assert receiver.push({"urn:example:made-up": {}}, sub="sub-1")["status"] == 202

    assert receiver.unchanged(connected)


def test_several_events_in_one_token_act_together(receiver: Receiver) -> None:
    """What one token says of an account is said at once: one alert, for the first that ends the grant."""
    connected = receiver.connect("sub-1")

    receiver.push({"sessions-revoked": {}, "tokens-revoked": {}}, sub="sub-1")

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")
    assert receiver.world.kinds(connected) == ["imported", "event_received", "needs_reauth"]
    assert len(receiver.world.alerts()) == 1


def test_what_was_taken_is_forgotten_after_a_month(receiver: Receiver) -> None:
    """Housekeeping keeps the ids for thirty days."""
    receiver.push({"verification": {}})
    receiver.push({"verification": {}}, claims={"jti": "old"})
    receiver.world.rows(
        "UPDATE received_events SET received_at = received_at - interval '31 days'"
        " WHERE event_id = 'old' RETURNING 1"
    )

    receiver.services.housekeeping.run()

    assert [row["event_id"] == "old" for row in receiver.taken()] == [False]
