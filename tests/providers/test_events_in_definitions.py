"""A definition's `events`: what it may say, and what is said of its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from domain.errors import ConfigurationError
from domain.events import Meaning
from providers.app_credentials import webhook_secret
from providers.catalogue import load
from providers.events.tables import Challenge, Place, SecurityEventTokens, Signature, Webhook
from tests.providers.making import acme

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
TOKENS: dict[str, Any] = {
    "kind": "security_event_token",
    "issuer": "https://issuer.example/",
    "jwks_url": "https://issuer.example/keys",
}
HOOK: dict[str, Any] = {
    "kind": "webhook",
    "signature": {"header": "X-Signature"},
    "topic": [{"member": "type"}],
    "account": {"member": "account"},
    "topics": {"gone": "revoked"},
}


def test_what_may_be_left_out() -> None:
    """RS256, hex, the body alone, a secret of its own."""
    tokens, hook = acme(events=TOKENS).events, acme(events=HOOK).events

    assert isinstance(tokens, SecurityEventTokens)
    assert tokens.algorithms == ("RS256",)
    assert isinstance(hook, Webhook)
    assert hook.signature is not None
    assert (hook.signature.encoding, hook.signature.content) == ("hex", "{body}")
    assert (hook.secret, hook.topics) == ("webhook_secret", {"gone": Meaning.REVOKED})


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ({}, "events.kind: must be one of"),
        ({**TOKENS, "kind": "push"}, "events.kind: must be one of"),
        ({**TOKENS, "isuer": "x"}, "events.isuer: unknown key; did you mean 'issuer'?"),
        ({**TOKENS, "issuer": "http://issuer.example/"}, "events.issuer: must use https"),
        ({**TOKENS, "algorithms": ["none"]}, "events.algorithms[0]: must be 'RS256' or 'ES256', not 'none'"),
        ({**TOKENS, "algorithms": ["HS256"]}, "events.algorithms[0]: must be"),
        ({**TOKENS, "algorithms": []}, "events.algorithms: "),
        ({**TOKENS, "algorithms": ["RS256", "RS256"]}, "events.algorithms: names one twice"),
        ({key: value for key, value in TOKENS.items() if key != "jwks_url"}, "events.jwks_url: is required"),
        ({**HOOK, "jwks_url": "https://x.example"}, "events.jwks_url: unknown key"),
        ({**HOOK, "topics": {"gone": "dead"}}, "events.topics.gone: must be"),
        ({**HOOK, "topics": {}}, "events.topics: "),
        ({**HOOK, "signature": {"header": "X Y"}}, "events.signature.header: "),
        (
            {**HOOK, "signature": {"header": "X", "contnt": ""}},
            "events.signature.contnt: unknown key; did you",
        ),
        (
            {**HOOK, "signature": {"header": "X", "content": "{timestamp}"}},
            "events.signature.content: must",
        ),
        (
            {**HOOK, "signature": {"header": "X", "content": "{body}{id}"}},
            "events.signature.content: must",
        ),
        (
            {**HOOK, "signature": {"header": "X", "content": "{timestamp}{body}"}},
            "events.signature.timestamp: goes with {timestamp}",
        ),
        (
            {**HOOK, "signature": {"header": "X", "key": "v1", "prefix": "a"}},
            "events.signature.prefix: has",
        ),
        ({**HOOK, "signature": None, "scheme": "hmac"}, "events.signature: goes with"),
        ({**HOOK, "scheme": "signed_request"}, "events.signature: goes with"),
        ({**HOOK, "account": {"member": "a", "header": "B"}}, "events.account: must name a header or"),
        (
            {**HOOK, "account": {"member": "a", "pattern": "x"}},
            "events.account.pattern: must have",
        ),
        ({**HOOK, "id": {"member": "a", "pattern": "(x)"}}, "events.id.pattern: belongs to account"),
        ({**HOOK, "topics": {"hi": "challenge"}}, "events.challenge: goes with a topic"),
        ({**HOOK, "challenge": {"value": "a", "echo_as": "a"}}, "events.challenge: goes with a topic"),
        ({**HOOK, "topic": []}, "events.topics: without topic there is one"),
    ],
)
def test_a_mistake_is_named_with_its_key(events: dict[str, Any], said: str) -> None:
    """Whatever does not fit is refused, and the message says where it stands."""
    with pytest.raises(ConfigurationError) as refused:
        acme(events=events)

    assert f"[providers.acme] {said}" in str(refused.value)


def test_a_client_without_a_secret_cannot_sign_with_it() -> None:
    """secret = "client_secret" needs one."""
    with pytest.raises(ConfigurationError, match=r"events\.secret: cannot be"):
        acme(events={**HOOK, "secret": "client_secret"}, client_auth="none")


@pytest.mark.parametrize("table", [SecurityEventTokens, Webhook, Signature, Challenge, Place])
def test_every_key_is_on_the_page(table: type[BaseModel]) -> None:
    """Whoever writes a definition finds each key in the documentation."""
    page = PAGE.read_text("utf-8")
    assert all(f"`{key}`" in page or f"{{ {key} =" in page for key in table.model_fields)


def test_search_console_hears_of_google() -> None:
    """The built-in definition names Google's issuer and keys."""
    events = load().get("gsc").events

    assert isinstance(events, SecurityEventTokens)
    assert events.issuer == "https://accounts.google.com/"
    assert events.jwks_url == "https://www.googleapis.com/oauth2/v3/certs"


def test_a_webhooks_secret_is_read_from_a_variable_of_its_own() -> None:
    """EVERGRANT_<PROVIDER>_WEBHOOK_SECRET; a malformed one is named and not shown."""
    assert webhook_secret("my-app", {}) is None
    assert webhook_secret("my-app", {"EVERGRANT_MY_APP_WEBHOOK_SECRET": ""}) is None
    found = webhook_secret("my-app", {"EVERGRANT_MY_APP_WEBHOOK_SECRET": "s3"})
    assert found is not None
    assert found.get_secret_value() == "s3"
    with pytest.raises(ConfigurationError, match="EVERGRANT_MY_APP_WEBHOOK_SECRET") as refused:
        webhook_secret("my-app", {"EVERGRANT_MY_APP_WEBHOOK_SECRET": " padded-secret"})
    assert "padded" not in str(refused.value)
