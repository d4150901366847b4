"""Webhooks over real HTTP: signed, taken once, answered as their senders want it."""

from __future__ import annotations

import json

import pytest

from tests.pushing.receiver import Receiver


def test_an_uninstalled_app_needs_a_person(receiver: Receiver) -> None:
    """The account's grants need a person at once; the sender hears 200."""
    connected, other = receiver.connect("acct", provider_id="hooked"), receiver.connect("acct")

    assert receiver.hook(type="gone", id="e1", account="acct") == (200, "")

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")
    assert receiver.state(other) == ("active", None), "the same account id at another provider"
    (row,) = receiver.taken()
    assert (row["source"], row["event_id"], row["kind"]) == ("hooked", "e1", "gone")
    assert (row["outcome"], row["changed"]) == ("needs_reauth", 1)


def test_a_repeated_webhook_is_acknowledged_and_does_nothing(receiver: Receiver) -> None:
    """By its id; and where it has none, by what it says."""
    connected = receiver.connect("acct", provider_id="hooked")
    for message in ({"id": "e1"}, {}):
        receiver.hook(type="gone", account="acct", **message)
        assert receiver.state(connected)[0] == "needs_reauth"
        receiver.world.update("status = 'active', reauth_reason = NULL, refresh_due_at = now()", connected)

        assert receiver.hook(type="gone", account="acct", **message)[0] == 200

        assert receiver.state(connected) == ("active", None)


def test_a_late_webhook_about_an_older_installation_is_not_about_this_one(receiver: Receiver) -> None:
    """With its own time it changes nothing; without one the provider is asked."""
    connected = receiver.connect("acct", provider_id="hooked", age="1 hour")
    receiver.hook(type="gone", id="e1", account="acct", at="2020-01-01T00:00:00Z")
    assert receiver.unchanged(connected)

    receiver.hook(type="gone", id="e2", account="acct")

    row = receiver.world.row(connected)
    assert row["status"] == "active"
    assert row["refresh_due_at"] <= row["now"]


@pytest.mark.parametrize("secret", ["another", ""])
def test_a_webhook_without_the_secrets_signature_is_refused(receiver: Receiver, secret: str) -> None:
    """401, as a problem document, and nothing changes."""
    connected = receiver.connect("acct", provider_id="hooked")

    status, told = receiver.hook(secret, type="gone", account="acct")

    assert (status, json.loads(told)["code"]) == (401, "authentication_failed")
    assert receiver.unchanged(connected)
    assert not receiver.taken()


def test_a_challenge_is_answered(receiver: Receiver) -> None:
    """Signed, it gets its answer, every time; unsigned, it gets none."""
    for _ in range(2):
        status, told = receiver.hook(type="hello", challenge="abc")
        assert (status, json.loads(told)) == (200, {"challenge": "abc"})
    assert receiver.hook("another", type="hello", challenge="abc")[0] == 401
    assert not receiver.taken()


def test_without_the_secret_nothing_is_received(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook that nobody can verify is none: 404, and the code says what is missing."""
    monkeypatch.setattr(receiver.services.desk, "_webhook_secrets", {})

    status, told = receiver.hook(type="gone", account="acct")

    assert (status, json.loads(told)["code"]) == (404, "no_webhook_secret")


def test_a_message_of_another_kind_is_acknowledged(receiver: Receiver) -> None:
    """Whatever else the provider sends there is taken, and means nothing."""
    connected = receiver.connect("acct", provider_id="hooked")

    assert receiver.hook(type="renamed", id="e1", account="acct")[0] == 200
    assert receiver.hook(account="acct")[0] == 200

    assert receiver.unchanged(connected)
