"""The address at which a person consents, in each provider's words."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from providers.app_credentials import AppCredentials
from providers.authorization import Authorization, new_state, prepare_authorization
from providers.definition import ProviderDefinition
from providers.definition_errors import define

APP = AppCredentials("client-1", SecretStr("secret-1"))


def acme(**changed: Any) -> ProviderDefinition:
    table = {
        "display_name": "Acme",
        "grant": "refresh_token",
        "authorize_url": "https://acme.example/authorize",
        "token_url": "https://acme.example/token",
        "rotation": "none",
    }
    return define("acme", {**table, **changed}, source="test")


def prepared(definition: ProviderDefinition, app: AppCredentials | None = APP, **more: Any) -> Authorization:
    asked: dict[str, Any] = {
        "redirect_uri": "https://me.example/oauth/acme/callback",
        "state": "state-1",
        "scopes": ("read", "write"),
        "metadata": {},
        **more,
    }
    return prepare_authorization(definition, app, **asked)


def query(authorization: Authorization) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(authorization.url.get_secret_value()).query, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_the_request_of_the_rfcs() -> None:
    """RFC 6749 §4.1.1 with RFC 7636 §4.3, and nothing else; the challenge is the verifier's."""
    authorization = prepared(acme())

    asked = query(authorization)
    assert authorization.verifier is not None
    digest = hashlib.sha256(authorization.verifier.get_secret_value().encode()).digest()
    assert asked == {
        "response_type": "code",
        "client_id": "client-1",
        "redirect_uri": "https://me.example/oauth/acme/callback",
        "scope": "read write",
        "state": "state-1",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    assert "state-1" not in repr(authorization)


def test_a_providers_own_words() -> None:
    """Renamed parameters, constants, commas between scopes, no PKCE, and a query that was there already."""
    authorization = prepared(
        acme(
            authorize_url="https://acme.example/authorize?tenant=a",
            authorize_names={"client_id": "client_key", "scope": "permissions"},
            authorize_params={"access_type": "offline"},
            scope_separator=",",
            pkce=False,
        )
    )

    assert authorization.verifier is None
    assert query(authorization) == {
        "tenant": "a",
        "response_type": "code",
        "client_key": "client-1",
        "redirect_uri": "https://me.example/oauth/acme/callback",
        "permissions": "read,write",
        "state": "state-1",
        "access_type": "offline",
    }


def test_a_provider_without_scopes() -> None:
    """None are asked for: the parameter is left out, and the provider's default holds."""
    assert "scope" not in query(prepared(acme(), scopes=()))


def test_an_address_with_a_variable() -> None:
    """It is filled from metadata; a value that does not fit, or none, is refused before anybody leaves."""
    shop = {"pattern": "[a-z]{1,20}", "help": "the shop", "example": "evergreen"}
    definition = acme(
        authorize_url="https://{shop}.shops.example/authorize",
        token_url="https://{shop}.shops.example/token",
        variables={"shop": shop},
    )

    url = prepared(definition, metadata={"shop": "evergreen"}).url.get_secret_value()
    assert url.startswith("https://evergreen.shops.example/authorize?")
    for metadata in ({}, {"shop": "evil.example/"}):
        with pytest.raises(ConfigurationError, match="shop"):
            prepared(definition, metadata=metadata)


def test_what_cannot_be_asked() -> None:
    """Without our app, or a provider that nobody consents at."""
    with pytest.raises(ClientMisconfigured):
        prepared(acme(), None)
    with pytest.raises(ConfigurationError, match="authorize_url"):
        prepared(acme(authorize_url=None))


def test_states_are_not_guessed() -> None:
    """256 random bits, another one each time."""
    assert len({new_state() for _ in range(100)}) == 100
    assert len(new_state()) == 43
