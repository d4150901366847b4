"""A provider says that access was revoked: what changes, and what does not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr

from domain.asks import Outcome
from domain.schedule import Schedule
from domain.token import Credentials
from storage.tokens.claims import Claimed
from storage.tokens.landing import Landed, Landing
from tests.pushing.receiver import Receiver, serving
from tests.services.away import Away
from tests.services.world import HOUR, LEASE
from tests.support.waiting import eventually


def test_all_tokens_revoked_needs_a_person_at_once(receiver: Receiver) -> None:
    """A tokens-revoked event makes every grant of the account need a person, with one alert each."""
    first, second = receiver.connect("sub-1"), receiver.connect("sub-1")
    other = receiver.connect("sub-2")

    heard = receiver.revoke("sub-1")

    assert (heard["status"], heard["body"]) == (202, "")
    for connected in (first, second):
        assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")
        assert receiver.world.kinds(connected) == ["imported", "needs_reauth"]
        row = receiver.world.row(connected)
        assert row["last_error_code"] == "tokens-revoked"
        assert row["refresh_token"] is not None, "nothing is erased"
    assert receiver.state(other) == ("active", None)
    alerts = receiver.world.alerts()
    assert {alert["connection_id"] for alert in alerts} == {first.id, second.id}
    assert all("has told" in alert["title"] for alert in alerts)
    assert all(alert["detail"]["reason"] == "revoked_at_provider" for alert in alerts)


def test_a_repeated_jti_is_acknowledged_and_does_nothing(receiver: Receiver) -> None:
    """The same jti again is 202, and what happened since stays as it is."""
    connected = receiver.connect("sub-1")
    first = receiver.revoke("sub-1")
    receiver.world.update(
        "status = 'active', reauth_reason = NULL, refresh_due_at = now(), alerted = false", connected
    )
    kinds = receiver.world.kinds(connected)

    again = receiver.revoke("sub-1", claims={"jti": first["jti"]})

    assert again["status"] == 202
    assert receiver.state(connected) == ("active", None)
    assert receiver.world.kinds(connected) == kinds
    assert len(receiver.taken()) == 1


def test_the_same_jti_at_two_receivers_at_once_acts_once(receiver: Receiver) -> None:
    """Of sixteen deliveries of a jti to two servers at the same moment one acts, and all are acknowledged."""
    connected = receiver.connect("sub-1")
    with serving(receiver.services) as second, ThreadPoolExecutor(16) as pool:
        urls = [receiver.url, second] * 8
        heard = list(pool.map(lambda url: receiver.revoke("sub-1", url=url, claims={"jti": "one"}), urls))

    assert [each["status"] for each in heard] == [202] * 16
    assert receiver.world.kinds(connected).count("needs_reauth") == 1
    (alert,) = receiver.world.alerts()
    assert alert["count"] == 1


def test_age_alone_refuses_nothing(receiver: Receiver) -> None:
    """An event of years ago is taken, and acts on a grant that is older still."""
    connected = receiver.connect("sub-1", age="6 years")

    heard = receiver.revoke("sub-1", claims={"iat": 1_650_000_000, "exp": 1_650_000_060})

    assert heard["status"] == 202
    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def test_a_reconnection_after_the_event_is_not_what_it_is_about(receiver: Receiver) -> None:
    """An event from before a grant was given changes nothing about that grant."""
    connected = receiver.connect("sub-1", age="1 hour")

    heard = receiver.revoke("sub-1", claims={"toe": _ago(receiver, timedelta(hours=2))})

    assert heard["status"] == 202
    assert receiver.unchanged(connected)
    assert receiver.taken()[0]["outcome"] == "nothing"


def test_a_reconnection_about_the_time_of_the_event_is_asked_about(receiver: Receiver) -> None:
    """Where clocks cannot tell what came first, the provider is asked and not believed."""
    connected = receiver.connect("sub-1", age="2 minutes")
    receiver.world.update("refresh_due_at = now() + interval '1 hour'", connected)

    receiver.revoke("sub-1", claims={"toe": _ago(receiver, timedelta(minutes=3))})

    row = receiver.world.row(connected)
    assert row["status"] == "active"
    assert row["refresh_due_at"] <= row["now"]
    assert row["check_due_at"] <= row["now"]
    assert receiver.world.kinds(connected) == ["imported", "event_received"]


def test_an_account_nobody_has_connected_changes_nothing(receiver: Receiver) -> None:
    """An event about an account that is not held is acknowledged and changes nothing."""
    connected = receiver.connect("sub-1")
    untold = receiver.connect("")

    assert receiver.revoke("sub-9")["status"] == 202
    assert receiver.unchanged(connected, untold)


def test_an_event_for_one_client_leaves_other_clients_alone(receiver: Receiver) -> None:
    """The audience decides whose grants it is about: the same account at another app of ours is not."""
    ours = receiver.connect("sub-1")
    other = receiver.connect("sub-1", provider_id="gsc-too")

    receiver.revoke("sub-1", audience=["another-client"], to="gsc")

    assert receiver.state(ours) == ("active", None)
    assert receiver.state(other) == ("needs_reauth", "revoked_at_provider")


@pytest.mark.parametrize("status", ["disconnected", "needs_reauth"])
def test_what_is_over_stays_as_it_is(receiver: Receiver, status: str) -> None:
    """A disconnected grant, and one that needs a person already, are not touched."""
    connected = receiver.connect("sub-1")
    if status == "disconnected":
        receiver.services.disconnection.disconnect(connected.id)
    else:
        receiver.world.update(
            "status = 'needs_reauth', reauth_reason = 'grant_rejected', refresh_due_at = NULL,"
            " check_due_at = NULL",
            connected,
        )
    before = receiver.world.row(connected)

    assert receiver.revoke("sub-1")["status"] == 202

    after = receiver.world.row(connected)
    assert {**before, "now": None} == {**after, "now": None}


def test_a_presentation_under_way_is_left_to_its_own_end(receiver: Receiver) -> None:
    """While a worker presents, the row keeps its lease and its stamp, and is looked at right after."""
    connected = receiver.connect("sub-1")
    receiver.world.update("refresh_due_at = now() - interval '1 second'", connected)
    claimed = receiver.world.claim(connected)
    before = receiver.world.row(connected)
    assert before["lease_until"] > before["now"]

    receiver.revoke("sub-1")

    after = receiver.world.row(connected)
    for name in ("status", "attempt_id", "lease_until", "lease_owner", "presented_at", "version"):
        assert after[name] == before[name]
    assert after["check_due_at"] <= after["now"]
    assert claimed.state.attempt_id == after["attempt_id"]
    assert not receiver.world.alerts()


def test_a_rotation_under_way_is_not_lost(receiver: Receiver) -> None:
    """An event between a rotation and its answer disturbs nothing: the answer lands, and its pair is held."""
    connected = receiver.connect("acct", provider_id="hooked")
    receiver.world.update("refresh_due_at = now() - interval '1 second'", connected)
    receiver.world.sim.fault("hang_after", dialect="strict", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(receiver.world.refresh, connected, services=receiver.services)
        eventually(lambda: receiver.world.grant(connected)["generation"] > 0, what="it has rotated")
        assert receiver.hook(type="gone", id="e1", account="acct")[0] == 200
        assert receiver.state(connected) == ("active", None)
        assert receiver.world.row(connected)["version"] == 1, "the answer has not come yet"
        result = refreshing.result(60)

    assert result.outcome is Outcome.REFRESHED
    assert receiver.state(connected) == ("active", None)
    assert receiver.world.opens(connected, receiver.services)
    assert receiver.world.kinds(connected) == ["imported", "event_received", "refreshed"]


def test_an_answer_that_still_arrives_lands_and_resolves(receiver: Receiver) -> None:
    """A presentation that lost its lease before the event lands all the same, and takes the alert with it."""
    connected = receiver.connect("sub-1")
    receiver.world.update("refresh_due_at = now() - interval '1 second'", connected)
    claimed = receiver.world.claim(connected)
    receiver.world.pass_time(LEASE * 2, connected)
    receiver.revoke("sub-1")
    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")

    landed = receiver.world.services.tokens.land(_answer(claimed))

    assert isinstance(landed, Landed)
    assert receiver.state(connected) == ("active", None)
    assert not receiver.world.alerts()


def test_reconnecting_ends_it(receiver: Receiver) -> None:
    """After the event the user connects anew: active again, alert resolved, and refreshed as ever."""
    connected = receiver.connect("sub-1")
    receiver.revoke("sub-1")
    (grant,) = receiver.world.sim.mint("google", owner=receiver.world.owner)
    user = receiver.world.rows("SELECT user_id FROM connections WHERE id = %s", connected.id)[0]["user_id"]
    line = {
        "user_id": user, "provider_id": "gsc", "account_id": "sub-1", "access_token": grant.access_token,
        "refresh_token": grant.refresh_token, "expires_at": grant.expires_at,
    }  # fmt: skip
    report, _ = receiver.world.import_lines([json.dumps(line).encode()], services=receiver.services)
    assert report.outcomes == {"replaced": 1}
    receiver.world.update("refresh_due_at = now() - interval '1 second'", connected)

    assert receiver.world.refresh(connected, services=receiver.services).outcome is Outcome.REFRESHED
    assert not receiver.world.alerts()
    assert receiver.revoke("sub-1", claims={"toe": _ago(receiver, timedelta(hours=1))})["status"] == 202
    assert receiver.state(connected) == ("active", None)


def test_an_event_that_was_not_taken_acts_when_it_comes_again(receiver: Receiver, away: Away) -> None:
    """With Postgres away the sender hears 503, and the same jti acts the next time."""
    connected = receiver.connect("sub-1")
    away.take()
    try:
        heard = receiver.revoke("sub-1", claims={"jti": "once"})
    finally:
        away.give_back()
    assert heard["status"] == 503

    assert receiver.revoke("sub-1", claims={"jti": "once"})["status"] == 202
    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def _ago(receiver: Receiver, age: timedelta) -> int:
    (row,) = receiver.world.rows("SELECT extract(epoch FROM clock_timestamp() - %s::interval) AS at", age)
    return int(row["at"])


def _answer(claimed: Claimed) -> Landing:
    assert claimed.state.attempt_id is not None
    now = claimed.now
    return Landing(
        connection_id=claimed.ref.connection_id,
        grant_id=claimed.state.grant_id,
        presented_version=claimed.state.version,
        attempt_id=claimed.state.attempt_id,
        credentials=Credentials(SecretStr("late-AT"), None),
        keep_refresh=True,
        schedule=Schedule(now, now + HOUR, now + HOUR * 0.8, None),
    )
