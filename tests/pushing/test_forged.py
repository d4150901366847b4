"""Forged messages are refused in RFC 8935's words, and change nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.pushing.receiver import CLIENT, Receiver

#: Ways to forge -> what the sender is told.
FORGED = {
    "wrong_key": "authentication_failed",
    "tampered": "authentication_failed",
    "none": "authentication_failed",
    "hs256_public_key": "authentication_failed",
    "unknown_kid": "invalid_key",
    "no_kid": "invalid_key",
    "id_token": "invalid_request",
}
#: Claims that are not for us, or of nobody -> what the sender is told.
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another audience": ({"aud": "somebody-else"}, "invalid_audience"),
    "no audience": ({"aud": None}, "invalid_audience"),
    "an audience of another form": ({"aud": {"client": CLIENT}}, "invalid_audience"),
    "another issuer": ({"iss": "https://accounts.example/"}, "invalid_issuer"),
    "no issuer": ({"iss": None}, "invalid_issuer"),
    "no id": ({"jti": None}, "invalid_request"),
    "an id that is no text": ({"jti": 7}, "invalid_request"),
    "no events": ({"events": None}, "invalid_request"),
    "empty events": ({"events": {}}, "invalid_request"),
    "events of another form": ({"events": ["tokens-revoked"]}, "invalid_request"),
    "an event of another form": ({"events": {"x": 1}}, "invalid_request"),
    "too many events": ({"events": {f"urn:{n}": {} for n in range(17)}}, "invalid_request"),
}


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_token_is_refused(receiver: Receiver, forge: str) -> None:
    """What the issuer has not signed for this is refused with 400, and nothing is taken."""
    connected = receiver.connect("sub-1")

    heard = receiver.revoke("sub-1", forge=forge)

    assert heard["status"] == 400
    assert heard["content_type"] == "application/json"
    told = json.loads(heard["body"])
    assert set(told) == {"err", "description"}
    assert told["err"] == FORGED[forge]
    assert receiver.unchanged(connected)
    assert not receiver.taken()


@pytest.mark.parametrize("claims", CLAIMS)
def test_a_token_that_is_not_for_us_is_refused(receiver: Receiver, claims: str) -> None:
    """Signed by the issuer, and still not an event for this receiver."""
    connected = receiver.connect("sub-1")
    changes, err = CLAIMS[claims]

    heard = receiver.revoke("sub-1", claims=changes)

    assert (heard["status"], json.loads(heard["body"])["err"]) == (400, err)
    assert receiver.unchanged(connected)
    assert not receiver.taken()


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"a.b", b"a.b.c", b"\xff\xfe", b"..", b"eyJhbGciOiJSUzI1NiJ9..", b"x" * 200_000],
    ids=["empty", "json", "two parts", "three parts", "no text", "dots", "header alone", "long"],
)
def test_what_is_no_token_is_refused(receiver: Receiver, body: bytes) -> None:
    """Any bytes may come; none of them is a mistake of ours."""
    status, told = receiver.post("gsc", body, {"Content-Type": "application/secevent+jwt"})

    assert status == 400
    assert json.loads(told)["err"] in ("invalid_request", "authentication_failed", "invalid_key")


def test_a_body_that_is_too_long_is_not_read(receiver: Receiver) -> None:
    """Beyond 256 KiB the answer is 413, however it is sent."""
    status, told = receiver.post("gsc", b"x" * (256 * 1024 + 1), {})

    assert status == 413
    assert json.loads(told)["code"] == "message_too_large"


@pytest.mark.parametrize(
    ("provider_id", "code"),
    [("nobody", "unknown_provider"), ("bing", "no_events"), ("unconfigured", "provider_not_configured")],
)
def test_nothing_is_received_where_nothing_is_pushed(receiver: Receiver, provider_id: str, code: str) -> None:
    """Without a definition's events, or its app, there is no receiver."""
    status, told = receiver.post(provider_id, b"", {})

    assert (status, json.loads(told)["code"]) == (404, code)


def test_a_new_key_of_the_issuer_is_found(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key id that is not known makes the receiver fetch the keys anew."""
    monkeypatch.setattr("providers.events.keys.AT_MOST_EVERY", timedelta(0))
    connected = receiver.connect("sub-1")
    assert receiver.push({"verification": {"state": "s"}})["status"] == 202
    receiver.world.sim.event_keys(rotate=True)

    assert receiver.revoke("sub-1")["status"] == 202

    assert receiver.state(connected) == ("needs_reauth", "revoked_at_provider")


def test_made_up_key_ids_do_not_have_the_issuer_asked_again_and_again(receiver: Receiver) -> None:
    """Ten unknown key ids cost at most the one fetch that is allowed a minute."""
    receiver.push({"verification": {}})
    before = receiver.world.sim.event_keys()["fetches"]

    heard = [receiver.revoke("sub-1", forge="unknown_kid")["status"] for _ in range(10)]

    assert heard == [400] * 10
    assert receiver.world.sim.event_keys()["fetches"] == before


def test_without_the_issuers_keys_the_sender_is_asked_to_come_again(receiver: Receiver) -> None:
    """Where the keys cannot be fetched nobody is called a forger: 503, and nothing is taken."""
    connected = receiver.connect("sub-1")
    away = receiver.again(jwks="http://127.0.0.1:9/keys")
    with receiver.at(away):
        heard = receiver.revoke("sub-1")

    assert heard["status"] == 503
    assert receiver.unchanged(connected)
    assert not receiver.taken()


def test_nothing_of_a_message_reaches_the_answer_or_the_log(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal repeats no part of what was sent."""
    _, told = receiver.post("gsc", b"sim-rt-secret.sim-rt-secret.sim-rt-secret", {})
    _, more = receiver.hook("wrong", type="gone", account="sim-rt-secret")

    said = capsys.readouterr()
    assert "sim-rt-secret" not in told + more + said.out + said.err
