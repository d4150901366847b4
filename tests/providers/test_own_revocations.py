"""Revocations in a provider's own way: method, place of the token, and who says it is asking."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError, GrantRejected
from domain.token import TokenKind
from providers.app_credentials import AppCredentials
from providers.client import ProviderClient
from providers.http import Wire, WireRequest
from providers.revoking import prepare_revoke
from tests.providers.loopback import answering, http, serving
from tests.providers.making import APP, acme

TOKEN = SecretStr("AT-zq-0123456789")
URL = "https://acme.example/revoke"
BASIC = "Basic " + base64.b64encode(b"client-1:app-secret-1").decode()
CLIENT = {"client_id": "client-1", "client_secret": "app-secret-1"}


def request(revoke: dict[str, Any], **changes: Any) -> WireRequest:
    definition = acme(revoke={"url": URL, **revoke}, **changes)
    call = prepare_revoke(definition, APP, TOKEN, definition.revoked_token)
    assert "zq" not in repr(call)
    assert "zq" not in str(call.request.url)
    return call.request


def test_github_ends_a_grant_by_the_clients_word_with_the_token_in_json() -> None:
    """https://docs.github.com/en/rest/apps/oauth-applications: DELETE, Basic, the client id in the path."""
    made = request(
        {
            "method": "DELETE",
            "url": "https://api.acme.example/applications/{client_id}/grant",
            "auth": "basic",
            "token": "access_token",
            "body": {"access_token": "{token}"},
            "body_format": "json",
        }
    )

    assert (made.method, str(made.url)) == ("DELETE", "https://api.acme.example/applications/client-1/grant")
    assert made.headers == {"Authorization": BASIC, "Content-Type": "application/json"}
    assert json.loads(made.content or b"") == {"access_token": "AT-zq-0123456789"}


def test_a_token_revokes_itself() -> None:
    """Slack's and Dropbox's way: a bearer token and nothing else."""
    made = request({"auth": "bearer", "token": "access_token", "headers": {"X-A": "1"}})

    assert made.headers == {"Authorization": "Bearer AT-zq-0123456789", "X-A": "1"}
    assert (made.method, made.content, made.secret_query) == ("POST", None, b"")


def test_the_client_is_in_the_body_of_a_revocation_alone() -> None:
    """Calendly's way: Basic authentication for tokens, the body for revoking."""
    revoke = {"url": URL, "auth": "body", "body": {"token": "{token}"}}
    made = request(revoke, client_auth="client_secret_basic")

    assert dict(parse_qsl((made.content or b"").decode())) == {
        "token": "AT-zq-0123456789",
        "client_id": "client-1",
        "client_secret": "app-secret-1",
    }
    assert "Authorization" not in made.headers


def test_a_token_is_taken_back_by_a_header_of_another_name() -> None:
    headers = {"X-T": "{token}", "X-C": "{client_id}"}
    made = request({"auth": "none", "token": "access_token", "headers": headers})

    assert made.headers == {"X-T": "AT-zq-0123456789", "X-C": "client-1"}


@pytest.mark.parametrize(
    ("client_auth", "fields", "header"),
    [
        ("client_secret_post", CLIENT, None),
        ("client_secret_basic", {}, BASIC),
        ("none", {"client_id": "client-1"}, None),
    ],
)
@pytest.mark.parametrize("body_format", ["form", "json"])
def test_the_client_says_who_it_is_as_at_the_token_endpoint(
    client_auth: str, fields: dict[str, str], header: str | None, body_format: str
) -> None:
    made = request(
        {"auth": "client", "body": {"t": "{token}"}, "body_format": body_format}, client_auth=client_auth
    )
    text = (made.content or b"").decode()
    sent = json.loads(text) if body_format == "json" else dict(parse_qsl(text, strict_parsing=True))

    assert sent == {"t": "AT-zq-0123456789", **fields}
    assert made.headers.get("Authorization") == header


@pytest.mark.parametrize("body_format", ["form", "json"])
def test_the_client_has_the_providers_names_as_at_the_token_endpoint(body_format: str) -> None:
    """TikTok: https://developers.tiktok.com/docs/en/oauth-revoke-a-user-access-token."""
    made = request(
        {"auth": "client", "body": {"token": "{token}"}, "body_format": body_format},
        field_names={"client_id": "client_key"},
    )
    text = (made.content or b"").decode()
    sent = json.loads(text) if body_format == "json" else dict(parse_qsl(text, strict_parsing=True))

    assert sent == {"token": "AT-zq-0123456789", "client_key": "client-1", "client_secret": "app-secret-1"}


def test_a_token_in_the_query_stays_out_of_the_url() -> None:
    made = request({"method": "GET", "auth": "none", "query": {"token": "{token}", "c": "{client_id}"}})

    assert str(made.url) == URL
    assert dict(parse_qsl(made.secret_query.decode())) == {"token": "AT-zq-0123456789", "c": "client-1"}
    assert made.content is None


def test_what_cannot_be_sent_fails_before_anything_is_sent() -> None:
    definition = acme(revoke={"url": URL, "auth": "bearer"})
    with pytest.raises(ClientMisconfigured):
        prepare_revoke(definition, None, TOKEN, TokenKind.REFRESH_TOKEN)
    with pytest.raises(ConfigurationError, match="token"):
        prepare_revoke(definition, APP, SecretStr("a\nb"), TokenKind.REFRESH_TOKEN)


def test_an_awkward_client_id_stays_one_piece_of_the_path() -> None:
    definition = acme(revoke={"url": "https://acme.example/{client_id}/grant", "auth": "bearer"})
    app = AppCredentials("a/b?c#d", SecretStr("s"))

    call = prepare_revoke(definition, app, TOKEN, TokenKind.REFRESH_TOKEN)

    assert str(call.request.url) == "https://acme.example/a%2Fb%3Fc%23d/grant"


def test_an_own_revocation_over_the_wire() -> None:
    """204 is done; the rules of the provider say what else is."""
    wire = Wire()
    client = ProviderClient(wire)
    rules = [{"on": "revoke", "status": 404, "outcome": "grant_rejected", "name": "gone"}]
    for status, expected in (("204 No Content", None), ("404 Not Found", "gone")):
        with serving(answering(http(status))) as server:
            definition = acme(
                revoke={"url": server.url("/r/{client_id}"), "method": "DELETE", "auth": "basic",
                        "body": {"t": "{token}"}, "body_format": "json"},
                judgements=rules,
            )  # fmt: skip
            try:
                client.revoke(definition, APP, TOKEN, TokenKind.REFRESH_TOKEN, deadline=timedelta(seconds=20))
                found = None
            except GrantRejected as error:
                found = error.code
        assert found == expected
        (sent,) = server.requests
        assert sent.startswith(b"DELETE /r/client-1 HTTP/1.1")
        assert b'{"t": "AT-zq-0123456789"}' in sent
    wire.close()
