"""A provider names one refresh token by its hash: that very one is found, and nothing else."""

from __future__ import annotations

import base64
import hashlib

import pytest

from domain.asks import Outcome
from storage.keys import generate
from tests.pushing.receiver import Receiver
from tests.services.keyed import rotate
from tests.services.world import FORCED, Connected


def hashed(token: str | None) -> str:
    """Google's double hash, written down once more."""
    assert token is not None
    inner = hashlib.sha512(token.encode()).digest()
    return base64.b64encode(hashlib.sha512(inner).digest()).decode()


def revoke(receiver: Receiver, token: str, alg: str = "hash_base64_sha512_sha512") -> int:
    subject = {
        "subject_type": "oauth_token",
        "token_type": "refresh_token",
        "token_identifier_alg": alg,
        "token": token,
    }
    status: int = receiver.push({"token-revoked": {"subject": subject}})["status"]
    return status


def digests(receiver: Receiver, connected: Connected) -> list[dict[str, object]]:
    return receiver.world.rows("SELECT * FROM event_digests WHERE connection_id = %s", connected.id)


def test_the_very_token_is_found_by_its_hash(receiver: Receiver) -> None:
    """A token-revoked event ends the grant whose refresh token has this hash, and no other of the account."""
    connected, sibling = receiver.connect("sub-1"), receiver.connect("sub-1")

    assert revoke(receiver, hashed(connected.grant.refresh_token)) == 202

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")
    assert receiver.state(sibling) == ("active", None)
    (alert,) = receiver.world.alerts()
    assert alert["connection_id"] == connected.id


def test_when_the_grant_was_given_is_no_question_for_its_own_token(receiver: Receiver) -> None:
    """The credential itself tells that it is meant, however new the connection is."""
    connected = receiver.connect("sub-1", age="1 second")

    revoke(receiver, hashed(connected.grant.refresh_token))

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def test_a_prefix_matches_nothing(receiver: Receiver) -> None:
    """An event that names a token by its first sixteen characters is acknowledged and changes nothing."""
    connected = receiver.connect("sub-1")
    assert connected.grant.refresh_token is not None

    assert revoke(receiver, connected.grant.refresh_token[:16], "prefix") == 202

    assert receiver.unchanged(connected)


@pytest.mark.parametrize("token", ["", "x" * 5000, "\ud83d", "ünicode"])
def test_a_hash_that_is_none_changes_nothing(receiver: Receiver, token: str) -> None:
    """Whatever stands in a hash's place is looked for, not found, and acknowledged."""
    connected = receiver.connect("sub-1")

    assert revoke(receiver, token) == 202

    assert receiver.unchanged(connected)


def test_a_token_no_longer_held_changes_nothing(receiver: Receiver) -> None:
    """After a landing brought another refresh token, an event about the old one is about nothing here."""
    connected = receiver.connect("sub-1")
    old = hashed(connected.grant.refresh_token)
    receiver.world.sim.configure("google", rotation="single_use", send_refresh_token=True)
    try:
        result = receiver.world.refresh(connected, FORCED, services=receiver.services)
    finally:
        receiver.world.sim.restore_settings()
    assert result.outcome is Outcome.REFRESHED

    assert revoke(receiver, old) == 202
    assert receiver.state(connected) == ("active", None)

    shown = receiver.world.sim.grant(connected.grant.grant_id, tokens=True)
    assert revoke(receiver, hashed(shown["refresh_token"])) == 202
    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def test_an_index_entry_that_is_out_of_date_ends_nobody(receiver: Receiver) -> None:
    """A digest whose writing was lost still finds the row, and the row's own token says no."""
    connected = receiver.connect("sub-1")
    other = receiver.connect("sub-2")
    receiver.world.rows(
        "UPDATE event_digests e SET digest = o.digest FROM event_digests o"
        " WHERE e.connection_id = %s AND o.connection_id = %s RETURNING 1",
        connected.id,
        other.id,
    )

    revoke(receiver, hashed(other.grant.refresh_token))

    assert receiver.state(connected) == ("active", None)
    assert receiver.state(other) == ("needs_reauth", "revoked_at_provider")


def test_a_lost_digest_is_written_by_the_sweep(receiver: Receiver) -> None:
    """What a process that died did not write, the housekeeping writes; what nobody needs, it takes away."""
    connected, ended = receiver.connect("sub-1"), receiver.connect("sub-2")
    receiver.world.rows("DELETE FROM event_digests WHERE connection_id = %s RETURNING 1", connected.id)
    receiver.services.disconnection.disconnect(ended.id)
    assert digests(receiver, ended)

    receiver.services.housekeeping.run()

    assert not digests(receiver, ended)
    revoke(receiver, hashed(connected.grant.refresh_token))
    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def test_the_sweep_goes_over_the_table_in_parts(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep ends after a few looks, the next one goes on, and the end begins anew."""
    monkeypatch.setattr("services.events.digests.LOOK", 2)
    monkeypatch.setattr("services.events.digests.MOST_LOOKS", 1)
    several = [receiver.connect("sub-1") for _ in range(5)]
    receiver.world.rows("DELETE FROM event_digests RETURNING 1")

    assert [receiver.services.event_digests.sweep() for _ in range(3)] == [2, 2, 1]
    assert all(digests(receiver, each) for each in several)
    receiver.world.rows("DELETE FROM event_digests RETURNING 1")
    assert sum(receiver.services.event_digests.sweep() for _ in range(3)) == 5


def test_providers_that_name_no_hash_have_no_digests(receiver: Receiver) -> None:
    """Neither an import nor a landing of any other provider writes one."""
    strict = receiver.world.connect("strict")
    hooked = receiver.connect("acct-1", provider_id="hooked")
    assert receiver.world.refresh(strict, services=receiver.services).outcome is Outcome.REFRESHED

    receiver.services.housekeeping.run()

    assert not digests(receiver, strict)
    assert not digests(receiver, hooked)


def test_a_rotation_of_keys_keeps_it_matching(receiver: Receiver) -> None:
    """While two keys are in use, and after the old one is gone, a token is found by its hash."""
    between, after = receiver.connect("sub-1"), receiver.connect("sub-2")
    new = generate("k2")
    with_both = receiver.again(keys=f"{new},{receiver.world.keys}")
    with receiver.at(with_both):
        revoke(receiver, hashed(between.grant.refresh_token))
    assert receiver.state(between) == ("needs_reauth", "revoked_at_provider")

    report = rotate(receiver.world, f"{new},{receiver.world.keys}")

    assert report.resealed["digests"] == 2
    assert "k1" in report.removable
    with receiver.at(receiver.again(keys=new)):
        revoke(receiver, hashed(after.grant.refresh_token))
    assert receiver.state(after) == ("needs_reauth", "revoked_at_provider")
