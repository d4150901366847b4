"""Revocation (RFC 7009): how a token is sent back, and what each answer to it means."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from domain.errors import (
    ClientMisconfigured,
    ConfigurationError,
    GrantRejected,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.token import TokenKind
from providers.app_credentials import AppCredentials
from providers.client import ProviderClient
from providers.definition import ProviderDefinition
from providers.http import Wire
from providers.judgement import judge_revoke
from providers.revoking import prepare_revoke
from simulator.process import SimulatorProcess
from tests.providers.making import APP, acme, answer

TOKEN = SecretStr("RT-0123456789")
URL = "https://acme.example/revoke"
DEADLINE = timedelta(seconds=10)


@pytest.mark.parametrize(
    ("auth", "fields", "header"),
    [
        ("client_secret_post", {"client_id": "id:1", "client_secret": "p+%&"}, None),
        ("client_secret_basic", {}, "Basic " + base64.b64encode(b"id%3A1:p%2B%25%26").decode()),
        ("none", {"client_id": "id:1"}, None),
    ],
)
def test_a_form_carries_the_token_its_kind_and_the_client(
    auth: str, fields: dict[str, str], header: str | None
) -> None:
    """Always a form (RFC 7009 §2.1), also where the token endpoint wants JSON and other names."""
    definition = acme(
        revoke_url=URL, client_auth=auth, body_format="json", field_names={"refresh_token": "refreshToken"}
    )
    call = prepare_revoke(
        definition, AppCredentials("id:1", SecretStr("p+%&")), TOKEN, TokenKind.REFRESH_TOKEN
    )

    assert (call.request.method, str(call.request.url)) == ("POST", URL)
    assert call.request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert call.request.headers.get("Authorization") == header
    sent = dict(parse_qsl((call.request.content or b"").decode(), strict_parsing=True))
    assert sent == {"token": "RT-0123456789", "token_type_hint": "refresh_token", **fields}
    assert "0123456789" not in repr(call)


def test_what_cannot_be_sent_fails_before_anything_is_sent() -> None:
    """No endpoint, no client, no token that is one."""
    kind = TokenKind.ACCESS_TOKEN
    with pytest.raises(ConfigurationError, match="revoke_url"):
        prepare_revoke(acme(), APP, TOKEN, kind)
    with pytest.raises(ClientMisconfigured):
        prepare_revoke(acme(revoke_url=URL), None, TOKEN, kind)
    with pytest.raises(ConfigurationError, match="token"):
        prepare_revoke(acme(revoke_url=URL), APP, SecretStr("a\nb"), kind)


def verdict(definition: ProviderDefinition, status: int, body: Any) -> tuple[type, str] | None:
    try:
        judge_revoke(definition, answer(status, body), secrets=("RT-0123456789",))
    except ProviderError as error:
        return type(error), error.code
    return None


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, None, None),
        (200, {}, None),
        (204, None, None),
        (200, b"<html>done</html>", None),
        (400, {"error": "invalid_token"}, (GrantRejected, "invalid_token")),
        (400, {"error": "invalid_grant"}, (GrantRejected, "invalid_grant")),
        (200, {"error": "invalid_token"}, (GrantRejected, "invalid_token")),
        (400, {"error": "unsupported_token_type"}, (Refused, "unsupported_token_type")),
        (400, {"error": "invalid_request"}, (Refused, "invalid_request")),
        (403, None, (Refused, "http_403")),
        (401, {"error": "invalid_client"}, (ClientMisconfigured, "invalid_client")),
        (401, None, (ClientMisconfigured, "http_401")),
        (404, None, (ClientMisconfigured, "endpoint_gone")),
        (302, None, (ClientMisconfigured, "endpoint_moved")),
        (408, None, (Unavailable, "http_408")),
        (429, {"error": "invalid_token"}, (RateLimited, "rate_limited")),
        (500, {"error": "invalid_token"}, (Unavailable, "http_500")),
        (503, None, (Unavailable, "unavailable")),
        (400, {"error": "RT-0123456789"}, (Refused, "http_400")),
    ],
)
def test_an_answer_means_done_or_later_or_not_with_this_client(
    status: int, body: Any, expected: tuple[type, str] | None
) -> None:
    """A token that is dead already is done with; trouble of any kind is a reason to come back."""
    assert verdict(acme(revoke_url=URL), status, body) == expected


def test_a_rule_of_the_provider_comes_first() -> None:
    """`on = "revoke"` is an endpoint of its own: rules of the token endpoint do not reach it."""
    rules = [
        {"on": "revoke", "code": "gone_already", "outcome": "grant_rejected"},
        {"on": "token", "status": 200, "outcome": "transient"},
    ]
    definition = acme(revoke_url=URL, judgements=rules)

    assert verdict(definition, 400, {"error": "gone_already"}) == (GrantRejected, "gone_already")
    assert verdict(definition, 200, None) is None


@pytest.fixture(scope="module")
def client() -> Iterator[ProviderClient]:
    wire = Wire()
    yield ProviderClient(wire)
    wire.close()


@pytest.mark.parametrize(("dialect", "auth"), [
    ("strict", "client_secret_post"), ("strict", "client_secret_basic"), ("google", "client_secret_post"),
])  # fmt: skip
@pytest.mark.parametrize("kind", TokenKind)
def test_a_revoked_grant_is_dead_at_the_provider(
    client: ProviderClient, simulator: SimulatorProcess, dialect: str, auth: str, kind: TokenKind
) -> None:
    """Either token ends the grant. Asked again, Google says that it is dead, and the RFC's provider 200."""
    definition = acme(revoke_url=f"{simulator.base_url}/{dialect}/revoke", client_auth=auth)
    app = AppCredentials(f"sim-{dialect}-client", SecretStr(f"sim-{dialect}-secret"))
    grant = simulator.client.mint(dialect)[0]
    token = SecretStr(grant.access_token if kind is TokenKind.ACCESS_TOKEN else grant.refresh_token or "")

    client.revoke(definition, app, token, kind, deadline=DEADLINE)

    assert simulator.client.grant(grant.grant_id)["dead_reason"] == "revoked_by_client"
    if dialect == "google":
        with pytest.raises(GrantRejected):
            client.revoke(definition, app, token, kind, deadline=DEADLINE)
    else:
        client.revoke(definition, app, token, kind, deadline=DEADLINE)
        wrong = AppCredentials("sim-strict-client", SecretStr("another"))
        with pytest.raises(ClientMisconfigured):
            client.revoke(definition, wrong, token, kind, deadline=DEADLINE)


def test_a_call_without_an_answer_is_known_as_one(
    client: ProviderClient, simulator: SimulatorProcess
) -> None:
    """Not sent, timed out, cut: each is an error of its kind, and the same call may be made again."""
    grant = simulator.client.mint("strict")[0]
    token = SecretStr(grant.access_token)
    app = AppCredentials("sim-strict-client", SecretStr("sim-strict-secret"))
    definition = acme(revoke_url=f"{simulator.base_url}/strict/revoke")
    # Taken, and not listened on.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = acme(revoke_url=f"http://127.0.0.1:{taken.getsockname()[1]}/revoke")
        with pytest.raises(NotSent):
            client.revoke(nowhere, app, token, TokenKind.ACCESS_TOKEN, deadline=DEADLINE)
    for kind, order in (("hang_after", {"seconds": 2}), ("drop_after", {})):
        simulator.client.fault(kind, endpoint="revoke", dialect="strict", **order)
        with pytest.raises(OutcomeUnknown):
            client.revoke(
                definition, app, token, TokenKind.ACCESS_TOKEN, deadline=timedelta(seconds=0.5)
            )  # fmt: skip

    client.revoke(definition, app, token, TokenKind.ACCESS_TOKEN, deadline=DEADLINE)

    assert not simulator.client.grant(grant.grant_id)["alive"]
