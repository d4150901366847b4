"""Keys of issuers: fetched when needed, kept for a while, never asked for again and again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from providers.events.keys import AFTER_FAILURE, AT_MOST_EVERY, FRESH, USABLE, Key, KeySets, KeysUnavailable
from providers.http import Wire, WireAnswer, WireRequest
from tests.providers.loopback import Loopback, answering, http, serving

URL = "https://issuer.example/keys"


def number(value: int, size: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(size, "big")).rstrip(b"=").decode()


def rsa_entry(kid: str, **changes: Any) -> dict[str, Any]:
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(numbers.n, 256), "e": number(numbers.e, 3), **changes}


def ec_entry(kid: str) -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": number(numbers.x, 32), "y": number(numbers.y, 32)}


ENTRY = rsa_entry("a")


class Issuer:
    """A wire that answers with a key set, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now, self.asked = 1000.0, 0
        self.entries: list[dict[str, Any]] = [ENTRY]
        self.answer: Callable[[], WireAnswer] = lambda: WireAnswer(
            200, {}, json.dumps({"keys": self.entries}).encode()
        )
        self.sets = KeySets(self, clock=lambda: self.now)

    def exchange(
        self, request: WireRequest, *, deadline: timedelta, began: float | None = None
    ) -> WireAnswer:
        del deadline, began
        assert (request.method, request.url.text) == ("GET", URL)
        self.asked += 1
        return self.answer()

    def find(self, kid: str) -> Key | None:
        return self.sets.find(URL, kid)

    def wait(self, duration: timedelta) -> None:
        self.now += duration.total_seconds() + 0.001


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def test_keys_are_fetched_once(issuer: Issuer) -> None:
    """A known key costs one fetch an hour, however often it is asked for."""
    assert all(issuer.find("a") is not None for _ in range(5))
    assert issuer.asked == 1


def test_an_unknown_key_is_asked_for_at_most_once_a_minute(issuer: Issuer) -> None:
    """Made-up ids in between find what is known, and fetch nothing."""
    issuer.find("a")
    assert [issuer.find("b") for _ in range(5)] == [None] * 5
    assert issuer.asked == 1
    issuer.wait(AT_MOST_EVERY)
    issuer.entries = [ENTRY, rsa_entry("b")]

    assert issuer.find("b") is not None
    assert issuer.asked == 2


def test_a_withdrawn_key_is_not_believed_for_longer_than_an_hour(issuer: Issuer) -> None:
    """The set is fetched anew when it has aged."""
    issuer.find("a")
    issuer.entries = [rsa_entry("b")]
    issuer.wait(FRESH)

    assert issuer.find("a") is None


def test_an_issuer_that_is_away_for_a_while_does_no_harm(issuer: Issuer) -> None:
    """What was fetched is used for up to a day; after that nothing is known."""
    issuer.find("a")
    issuer.answer = lambda: WireAnswer(503)
    issuer.wait(USABLE / 2)
    assert issuer.find("a") is not None
    issuer.wait(USABLE)

    with pytest.raises(KeysUnavailable):
        issuer.find("a")


def test_a_first_fetch_that_failed_is_tried_again_soon(issuer: Issuer) -> None:
    """Without any keys nothing is refused: nobody knows; and a crowd does not ask once each."""
    good, issuer.answer = issuer.answer, lambda: WireAnswer(500)
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            issuer.find("a")
    assert issuer.asked == 1
    issuer.answer = good
    issuer.wait(AFTER_FAILURE)

    assert issuer.find("a") is not None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": {"a": 1}}', b'{"keys": [1, "a", null]}', b"\xff"],
)
def test_what_is_no_key_set_holds_no_key(issuer: Issuer, body: bytes) -> None:
    """Any answer may come; none of them is taken for a set with a key in it."""
    issuer.answer = lambda: WireAnswer(200, {}, body)

    try:
        found = issuer.find("a")
    except KeysUnavailable:
        found = None

    assert found is None


def test_only_public_keys_for_signatures_are_taken(issuer: Issuer) -> None:
    """Secrets, private keys, keys for encryption and damaged ones are passed over, and the rest is used."""
    secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}
    issuer.entries = [
        secret,
        rsa_entry("encrypting", use="enc"),
        rsa_entry("private", d="AQAB"),
        rsa_entry("damaged", n="!"),
        {"kty": "EC", "crv": "P-521", "kid": "curve", "x": "AA", "y": "AA"},
        {"kid": "kind"},
        {"kty": "RSA"},
        ec_entry("ec"),
        rsa_entry("rsa", use="sig"),
    ]

    found = {kid: issuer.find(kid) is not None for kid in
             ("secret", "encrypting", "private", "damaged", "curve", "kind", "ec", "rsa")}  # fmt: skip

    assert [kid for kid, there in found.items() if there] == ["ec", "rsa"]


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.mark.parametrize(
    "answer",
    [
        http("302 Found", b"", "Location: /elsewhere"),
        http("200 OK", json.dumps({"keys": [ENTRY], "padding": "x" * 300_000}).encode()),
        http("404 Not Found", json.dumps({"keys": [ENTRY]}).encode()),
    ],
    ids=["redirect", "too long", "not found"],
)
def test_a_fetch_is_bounded_as_every_call_is(wire: Wire, answer: bytes) -> None:
    """Over real HTTP: no redirect is followed, no endless set is read, and only a 200 counts."""
    with serving(answering(answer)) as server, pytest.raises(KeysUnavailable):
        KeySets(wire).find(server.url("/keys"), "a")


def test_a_set_is_fetched_over_real_http(wire: Wire) -> None:
    """The real client asks once, and finds the key."""
    good = http("200 OK", json.dumps({"keys": [ENTRY]}).encode(), "Content-Type: application/json")
    with serving(answering(good)) as server:
        sets = KeySets(wire)
        assert sets.find(server.url("/keys"), "a") is not None
        assert sets.find(server.url("/keys"), "a") is not None
        _one(server)


def _one(server: Loopback) -> None:
    (request,) = server.requests
    assert request.startswith(b"GET /keys HTTP/1.1\r\n")
    assert b"uthorization" not in request
