"""The code exchange: one request in the provider's dialect, and all that its answer brings."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from domain.errors import (
    ClientMisconfigured,
    ConfigurationError,
    GrantRejected,
    Malformed,
    OutcomeUnknown,
    ProviderError,
    Refused,
)
from providers.accounts import Account
from providers.client import ProviderClient
from providers.connecting import Connected, judge_code_exchange, prepare_code_exchange
from providers.definition import ProviderDefinition
from providers.http import Wire, WireAnswer
from providers.requests import PreparedCall
from tests.providers.loopback import answering, http, serving, tokens
from tests.providers.making import APP, acme, answer

AUTHORIZE = {"authorize_url": "https://acme.example/authorize"}
CODE, VERIFIER = SecretStr("code-zq-0123456789"), SecretStr("verifier-zq-0123456789")
CALLBACK = "https://keeper.example/oauth/acme/callback"
TOKENS = {"access_token": "AT-zq-0123456789", "refresh_token": "RT-zq-0123456789"}


def exchange(definition: ProviderDefinition, **metadata: object) -> PreparedCall:
    return prepare_code_exchange(
        definition, APP, code=CODE, redirect_uri=CALLBACK, code_verifier=VERIFIER, metadata=metadata
    )


def body(call: PreparedCall) -> dict[str, str]:
    content = (call.request.content or b"").decode()
    if call.request.headers["Content-Type"] == "application/json":
        return dict(json.loads(content))
    return dict(parse_qsl(content, strict_parsing=True))


def test_a_code_is_exchanged_as_the_rfc_has_it() -> None:
    """RFC 6749 §4.1.3 and RFC 7636 §4.5, the client beside them, over a connection that has not idled."""
    call = exchange(acme(**AUTHORIZE, token_params={"audience": "a"}, code_params={"b": "c"}))

    assert (call.request.method, str(call.request.url)) == ("POST", "https://acme.example/token")
    assert body(call) == {
        "grant_type": "authorization_code",
        "code": CODE.get_secret_value(),
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER.get_secret_value(),
        "audience": "a",
        "b": "c",
        "client_id": "client-1",
        "client_secret": "app-secret-1",
    }
    assert call.request.fresh
    assert "zq" not in repr(call)


def test_without_pkce_no_verifier_is_sent() -> None:
    call = prepare_code_exchange(
        acme(**AUTHORIZE), APP, code=CODE, redirect_uri=CALLBACK, code_verifier=None, metadata={}
    )

    assert "code_verifier" not in body(call)


@pytest.mark.parametrize(("kind", "code"), [("mac", "answer_token_type_unknown"), ("Bearer ", None)])
def test_no_grant_begins_with_a_type_of_token_that_we_do_not_know(kind: str, code: str | None) -> None:
    """RFC 6749 §7.1. Capitals and spaces around it make no other type of it."""
    given = answer(200, {**TOKENS, "token_type": kind})
    if code is None:
        assert judge_code_exchange(acme(**AUTHORIZE), APP, given).answer.refresh_token is not None
        return
    with pytest.raises(Malformed, match=code):
        judge_code_exchange(acme(**AUTHORIZE), APP, given)


def test_a_dialect_renames_the_fields() -> None:
    """TikTok calls the client a key, and others the code something else; JSON where the provider wants it."""
    names = {"client_id": "client_key", "code": "auth_code", "redirect_uri": "back", "code_verifier": "proof"}
    call = exchange(
        acme(**AUTHORIZE, field_names=names, body_format="json", metadata_fields={"site": "site_id"}),
        site_id=7,
    )

    assert set(body(call)) == {
        "grant_type", "auth_code", "back", "proof", "client_key", "client_secret", "site",
    }  # fmt: skip
    assert body(call)["site"] == "7"


def test_a_code_goes_to_the_tenants_own_host() -> None:
    shop = {"pattern": "[a-z-]+", "help": "the shop", "example": "ever-green"}
    table = {**AUTHORIZE, "token_url": "https://{shop}.acme.example/token", "variables": {"shop": shop}}

    assert str(exchange(acme(**table), shop="ever-green").request.url) == (
        "https://ever-green.acme.example/token"
    )
    with pytest.raises(ConfigurationError, match=r"metadata\.shop"):
        exchange(acme(**table))


def test_what_cannot_be_exchanged_fails_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="takes no codes"):
        exchange(acme())
    with pytest.raises(ClientMisconfigured, match="app_not_configured"):
        prepare_code_exchange(
            acme(**AUTHORIZE), None, code=CODE, redirect_uri=CALLBACK, code_verifier=None, metadata={}
        )
    with pytest.raises(ConfigurationError, match="authorization code") as caught:
        prepare_code_exchange(
            acme(**AUTHORIZE),
            APP,
            code=SecretStr("a\nb"),
            redirect_uri=CALLBACK,
            code_verifier=None,
            metadata={},
        )
    assert "a\nb" not in str(caught.value)


def judged(definition: ProviderDefinition, given: WireAnswer, **callback: str) -> Connected | ProviderError:
    secrets = (CODE.get_secret_value(),)
    try:
        return judge_code_exchange(definition, APP, given, callback=callback, secrets=secrets)
    except ProviderError as error:
        return error


@pytest.mark.parametrize(
    ("status", "said", "kind", "code"),
    [
        (400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (400, {"error": "invalid_request"}, Refused, "invalid_request"),
        (401, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        (200, {}, Malformed, "answer_access_token_invalid"),
        (500, b"", OutcomeUnknown, "http_500"),
        (302, b"", ClientMisconfigured, "endpoint_moved"),
        (400, {"error": "code_zq_x"}, Refused, "code_zq_x"),
        (400, {"error": CODE.get_secret_value()}, Refused, "http_400"),
    ],
)
def test_a_refusal_says_whose_fault_it_is(
    status: int, said: Any, kind: type[ProviderError], code: str
) -> None:
    """A code is spent by being sent: trouble leaves it in doubt, whatever becomes of refresh tokens."""
    for definition in (acme(**AUTHORIZE), acme(**AUTHORIZE, rotation="none", replay_window=None)):
        found = judged(definition, answer(status, said))
        assert isinstance(found, ProviderError)
        assert (type(found), found.code) == (kind, code)


def id_token(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'aud': 'client-1', **claims})}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("account", "said", "callback", "expected"),
    [
        ({"from": "answer", "id": "team.id", "label": "team.name"},
         {"team": {"id": "T1", "name": "Acme"}}, {}, Account("T1", "Acme")),
        ({"from": "answer", "id": "user.0.id"}, {"user": [{"id": 7}]}, {}, Account("7")),
        ({"from": "answer", "id": "team.id"}, {}, {}, None),
        ({"from": "answer", "id": "id"}, {"id": True}, {}, None),
        ({"from": "answer", "id": "id"}, {"id": "a\u0007b"}, {}, None),
        ({"from": "answer", "id": "id"}, {"id": "x" * 256}, {}, None),
        ({"from": "answer", "id": "id"}, {"id": 1.5}, {}, None),
        ({"from": "answer", "id": "id"}, {"id": 2**70}, {}, None),
        ({"from": "answer", "id": "access_token"}, {}, {}, None),
        ({"from": "answer", "id": "id", "label": "name"}, {"id": "1", "name": ["x"]}, {}, Account("1")),
        ({"from": "id_token", "id": "sub", "label": "email"},
         {"id_token": id_token(sub="1", email="ann@acme.example")}, {}, Account("1", "ann@acme.example")),
        ({"from": "id_token", "id": "sub"}, {"id_token": id_token(sub="1", aud=["x", "client-1"])}, {},
         Account("1")),
        ({"from": "id_token", "id": "sub"}, {"id_token": id_token(sub="1", aud="other")}, {}, None),
        ({"from": "id_token", "id": "sub"}, {"id_token": "not.a.token"}, {}, None),
        ({"from": "id_token", "id": "sub"}, {"id_token": 7}, {}, None),
        ({"from": "id_token", "id": "sub"}, {}, {}, None),
        ({"from": "callback", "id": "realmId"}, {}, {"realmId": "913"}, Account("913")),
        ({"from": "callback", "id": "realmId"}, {}, {}, None),
        ({"from": "callback", "id": "code"}, {}, {"code": CODE.get_secret_value()}, None),
        ({"from": "request", "url": "https://acme.example/me", "id": "id"}, {"id": "1"}, {}, None),
        (None, {"id": "1"}, {}, None),
    ],
)  # fmt: skip
def test_an_exchange_says_who_the_user_is(
    account: dict[str, Any] | None, said: dict[str, Any], callback: dict[str, str], expected: Account | None
) -> None:
    """Where the definition looks for it; bounded, printable, never a token, and never at the tokens' cost."""
    found = judged(acme(**AUTHORIZE, account=account), answer(200, {**TOKENS, **said}), **callback)

    assert isinstance(found, Connected)
    assert found.account == expected
    assert found.answer.access_token.get_secret_value() == TOKENS["access_token"]
    assert "zq" not in repr(found)


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        ("https://acme.example", Account("1")),
        ("acme.example", Account("1")),
        ("https://evil.example", None),
        (None, None),
    ],
)
def test_an_id_token_of_another_issuer_says_nothing(issuer: str | None, expected: Account | None) -> None:
    definition = acme(**AUTHORIZE, issuer="https://acme.example", account={"from": "id_token", "id": "sub"})
    found = judged(definition, answer(200, {**TOKENS, "id_token": id_token(sub="1", iss=issuer)}))

    assert isinstance(found, Connected)
    assert found.account == expected
    assert found.answer.id_token is not None
    assert "eyJ" not in repr(found)


def test_an_exchange_over_the_wire() -> None:
    """A real socket: sent once, judged, and dated by the caller where the answer has no date."""
    wire = Wire()
    said = tokens(expires_in=None, expiry="2030-01-01T01:00:00Z", team="T1")
    with serving(answering(http("200 OK", said))) as server:
        definition = acme(
            **AUTHORIZE,
            token_url=server.url(),
            account={"from": "answer", "id": "team"},
            answer_names={"expires_at": ["expiry"]},
        )
        found = ProviderClient(wire).exchange_code(
            exchange(definition), APP, deadline=timedelta(seconds=20), now=datetime(2030, 1, 1, tzinfo=UTC)
        )
    wire.close()

    assert found.account == Account("T1")
    assert found.answer.expires_in == timedelta(hours=1)
    assert len(server.requests) == 1
