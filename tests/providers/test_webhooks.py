"""Webhooks are verified as each provider signs them, by its own documented examples where there are some."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr

from domain.events import Meaning
from providers.events.reading import Forged, Message
from providers.events.tables import Webhook
from providers.events.webhooks import verified
from tests.providers.hooks import HOOKS, hooked

SECRET: Final = "made-up secret"
WHEN: Final = datetime(2019, 6, 17, 13, 52, 28, tzinfo=UTC)
#: The example of https://docs.slack.dev/authentication/verifying-requests-from-slack.
SLACK_BODY: Final = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
#: provider -> secret, body, headers: as its pages print them.
DOCUMENTED: Final[dict[str, tuple[str, bytes, dict[str, str]]]] = {
    "slack": (
        "8f742231b10e8888abcd99yyyzzz85a5",
        SLACK_BODY,
        {
            "x-slack-request-timestamp": "1531420618",
            "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        },
    ),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries.
    "github-app": (
        "It's a Secret to Everybody",
        b"Hello, World!",
        {
            "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        },
    ),
}


def receive(provider: str, headers: Mapping[str, str], body: bytes, secret: str = SECRET) -> Message:
    table = hooked(provider).events
    assert isinstance(table, Webhook)
    return verified(provider, headers, body, table, SecretStr(secret))


def mac(content: bytes) -> bytes:
    return hmac.digest(SECRET.encode(), content, hashlib.sha256)


def signed(provider: str, message: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Sign as the provider does, written down once more."""
    body = json.dumps(message).encode()
    stamp = "1560779548"
    match provider:
        case "slack":
            signature = mac(f"v0:{stamp}:".encode() + body).hex()
            return {"x-slack-signature": f"v0={signature}", "x-slack-request-timestamp": stamp}, body
        case "zoom":
            signature = mac(f"v0:{stamp}:".encode() + body).hex()
            return {"x-zm-signature": f"v0={signature}", "x-zm-request-timestamp": stamp}, body
        case "shopify":
            return {
                "x-shopify-hmac-sha256": base64.b64encode(mac(body)).decode(),
                "x-shopify-topic": "app/uninstalled",
                "x-shopify-webhook-id": "b54557e4-0001",
                "x-shopify-triggered-at": "2019-06-17T13:52:28Z",
            }, body
        case "github-app":
            return {
                "x-hub-signature-256": f"sha256={mac(body).hex()}",
                "x-github-event": "github_app_authorization",
                "x-github-delivery": "72d3162e-cc78-11e3",
            }, body
        case "stripe":
            signature = mac(f"{stamp}.".encode() + body).hex()
            return {"stripe-signature": f"t={stamp},v1={'0' * 64},v1={signature},v0=abc"}, body
        case _:
            payload = base64.urlsafe_b64encode(body).rstrip(b"=")
            signature = base64.urlsafe_b64encode(mac(payload)).rstrip(b"=").decode()
            return {}, urlencode({"signed_request": f"{signature}.{payload.decode()}"}).encode()


#: provider -> its message, and the account, id and kind that are read from it.
TOLD: Final[dict[str, tuple[dict[str, Any], str, str | None, str]]] = {
    "slack": (
        {
            "token": "XXYYZZ", "team_id": "T123", "api_app_id": "A1", "event": {"type": "app_uninstalled"},
            "type": "event_callback", "event_id": "Ev123", "event_time": 1560779548,
        },
        "T123", "Ev123", "event_callback.app_uninstalled",
    ),
    "shopify": (
        {"id": 548380009, "name": "Evergreen", "myshopify_domain": "evergreen.myshopify.com"},
        "evergreen.myshopify.com", "b54557e4-0001", "app/uninstalled",
    ),
    "github-app": (
        {"action": "revoked", "sender": {"login": "octocat", "id": 1}},
        "1", "72d3162e-cc78-11e3", "github_app_authorization.revoked",
    ),
    "zoom": (
        {
            "event": "app_deauthorized", "event_ts": 1740439732278,
            "payload": {
                "account_id": "EabCDEFghiLHMA", "user_id": "z9jkdsfsdfjhdkfjQ", "client_id": "ADZ9k9bTWm",
                "signature": "827edc34", "deauthorization_time": "2019-06-17T13:52:28Z",
            },
        },
        "z9jkdsfsdfjhdkfjQ", None, "app_deauthorized",
    ),
    "stripe": (
        {
            "id": "evt_1", "object": "event", "account": "acct_1", "created": 1560779548,
            "type": "account.application.deauthorized", "data": {"object": {"id": "ca_1"}},
        },
        "acct_1", "evt_1", "account.application.deauthorized",
    ),
    "meta": (
        {"algorithm": "HMAC-SHA256", "user_id": "218471", "issued_at": 1560779548},
        "218471", None, "revoked",
    ),
}  # fmt: skip


@pytest.mark.parametrize("provider", DOCUMENTED)
def test_the_documented_example_is_verified(provider: str) -> None:
    """The signature that the provider prints is accepted; what it prints is no event, so reading it fails."""
    secret, body, headers = DOCUMENTED[provider]

    with pytest.raises(Forged) as read:
        receive(provider, headers, body, secret)
    with pytest.raises(Forged) as tampered:
        receive(provider, headers, body + b" ", secret)

    assert (read.value.err, tampered.value.err) == ("invalid_request", "authentication_failed")


@pytest.mark.parametrize("provider", TOLD)
def test_a_revocation_is_understood(provider: str) -> None:
    """Account, id, kind and time are where the definition says, each provider's own."""
    message, account, event_id, kind = TOLD[provider]
    headers, body = signed(provider, message)

    heard = receive(provider, headers, body)

    (statement,) = heard.statements
    assert (statement.meaning, statement.account_id, statement.kind) == (Meaning.REVOKED, account, kind)
    assert statement.at == (None if provider == "github-app" else WHEN)
    assert heard.source == provider
    if event_id is None:
        assert heard.id.startswith("sha256:")
    else:
        assert heard.id == event_id


@pytest.mark.parametrize("provider", TOLD)
def test_what_the_secret_has_not_signed_is_refused(provider: str) -> None:
    """Another secret, another body, no signature, an empty one, one of another length: all refused."""
    headers, body = signed(provider, TOLD[provider][0])
    spoiled = body.replace(b"sh", b"hs") if provider == "shopify" else body[:-2] + b"AA"
    attempts: list[tuple[Mapping[str, str], bytes, str]] = [
        (headers, body, "another secret"),
        (headers, spoiled, SECRET),
    ]
    if provider != "meta":
        (name,) = (name for name in headers if "signature" in name or "hmac" in name)
        changed = (
            "",
            "v0=",
            "sha256=",
            "t=1560779548,v1=",
            "t=1,v1=" + "0" * 64,
            "v0=" + "é" * 64,
            "=" * 500,
        )
        attempts += [({**headers, name: value}, body, SECRET) for value in changed]
        attempts.append(({}, body, SECRET))
    for given, content, secret in attempts:
        with pytest.raises(Forged) as refused:
            receive(provider, given, content, secret)
        assert refused.value.err == "authentication_failed"


@pytest.mark.parametrize("provider", ["slack", "zoom", "stripe"])
def test_the_timestamp_is_signed_and_its_age_is_no_matter(provider: str) -> None:
    """Another timestamp is a forgery; one of years ago is none."""
    headers, body = signed(provider, TOLD[provider][0])
    assert receive(provider, headers, body).statements
    moved = {name: value.replace("1560779548", "1560779549") for name, value in headers.items()}
    for changed in (moved, {name: value for name, value in headers.items() if "timestamp" not in name}):
        if changed == headers:
            continue  # Stripe's stands in the signature's own header.
        with pytest.raises(Forged):
            receive(provider, changed, body)


def test_a_challenge_is_answered_after_it_was_verified() -> None:
    """Slack wants it back, Zoom wants it back and signed; neither hears anything without a signature."""
    slack = signed("slack", {"type": "url_verification", "challenge": "3eZbrw1aB", "token": "Jhj5"})
    zoom = signed("zoom", {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6"}})

    assert receive("slack", *slack).answer == {"challenge": "3eZbrw1aB"}
    assert receive("zoom", *zoom).answer == {
        "plainToken": "qgg8vlvZRS6",
        "encryptedToken": mac(b"qgg8vlvZRS6").hex(),
    }
    for provider, (headers, body) in (("slack", slack), ("zoom", zoom)):
        with pytest.raises(Forged):
            receive(provider, headers, body, "another secret")


def test_a_topic_that_says_nothing_of_grants_is_acknowledged() -> None:
    """Slack's tokens_revoked names users, so it is looked at; a message of the channel means nothing."""
    revoked = {**TOLD["slack"][0], "event": {"type": "tokens_revoked", "tokens": {"oauth": ["U1"]}}}
    spoken = {**TOLD["slack"][0], "event": {"type": "message"}}

    meanings = [receive("slack", *signed("slack", said)).statements[0].meaning for said in (revoked, spoken)]

    assert meanings == [Meaning.LOOK, Meaning.VERIFY]


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"a": ' * 100_000])
def test_a_signed_body_that_is_no_object_is_refused(body: bytes) -> None:
    """What cannot be read is a refusal and no mistake of ours."""
    with pytest.raises(Forged) as refused:
        receive("github-app", {"x-hub-signature-256": f"sha256={mac(body).hex()}"}, body)

    assert refused.value.err == "invalid_request"


def test_an_account_that_cannot_be_one_is_none() -> None:
    """Nobody's account is not everybody's, and nothing unprintable is looked for."""
    for account in (None, "", "a\u0000b", ["1"], {"id": 1}, True, 2**70, "x" * 300):
        message = {"action": "revoked", "sender": {"id": account}}
        (statement,) = receive("github-app", *signed("github-app", message)).statements
        assert statement.account_id is None


def test_every_hook_is_a_definition() -> None:
    """The tables are what a definition may say."""
    assert all(isinstance(hooked(provider).events, Webhook) for provider in HOOKS)
