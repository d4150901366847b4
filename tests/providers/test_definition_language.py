"""Each key that describes connecting, URLs, revocation, accounts and lifetimes is checked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import ConfigurationError
from domain.token import TokenKind
from providers.vocabulary import AccountSource, BeyondLimit, Endpoint, LifetimeUnit, RevokeAuth
from tests.providers.making import acme

AUTHORIZE = {"authorize_url": "https://acme.example/authorize"}
NO_REFRESH = {"grant": "none", "rotation": None, "replay_window": None}
MINTED = {"grant": "client_credentials", "rotation": None, "replay_window": None}
SHOP = {"pattern": "[a-z0-9-]+", "help": "the shop's name", "example": "evergreen"}
SHOP_URL = "https://{shop}.acme.example/token"
REVOKE = {"url": "https://acme.example/revoke", "auth": "bearer", "token": "access_token"}
ACCOUNT = {"from": "request", "url": "https://acme.example/me", "id": "id"}


def problem(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        acme(**changes)
    return str(caught.value)


def shop(**changes: Any) -> dict[str, Any]:
    """A definition with the variable `shop` in its token_url; a change to None takes a key away."""
    variable = {key: value for key, value in {**SHOP, **changes}.items() if value is not None}
    return {"token_url": SHOP_URL, "variables": {"shop": variable}}


def revoke(**changes: Any) -> dict[str, Any]:
    return {"revoke": {**REVOKE, **changes}}


def account(**changes: Any) -> dict[str, Any]:
    return {"account": {key: value for key, value in {**ACCOUNT, **changes}.items() if value is not None}}


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        # Connecting.
        ({"issuer": "https://acme.example"}, "issuer", "has no meaning without authorize_url"),
        ({"authorize_params": {"prompt": "consent"}}, "authorize_params", "has no meaning without authorize"),
        ({"authorize_names": {"client_id": "key"}}, "authorize_names", "has no meaning without authorize"),
        ({"code_params": {"a": "b"}}, "code_params", "has no meaning without authorize_url"),
        ({**AUTHORIZE, "issuer": "http://acme.example"}, "issuer", "must use https"),
        ({**AUTHORIZE, "authorize_params": {"state": "x"}}, "authorize_params.state", "is set by Evergrant"),
        (
            {**AUTHORIZE, "authorize_names": {"client_id": "key"}, "authorize_params": {"key": "x"}},
            "authorize_params.key",
            "is set by Evergrant",
        ),
        ({**AUTHORIZE, "authorize_names": {"nonce": "n"}}, "authorize_names.nonce", "must be 'client_id'"),
        (
            {**AUTHORIZE, "authorize_names": {"client_id": "key", "state": "key"}},
            "authorize_names.state",
            "has the name 'key', which client_id has already",
        ),
        (
            {**NO_REFRESH, "token_url": None, "device_url": "https://acme.example/device"},
            "device_url",
            "needs token_url",
        ),
        ({**MINTED, "device_url": "https://acme.example/device"}, "device_url", "has no meaning with grant"),
        # Token requests.
        ({"field_names": {"code": "c", "scope": "c"}}, "field_names.scope", "has the name 'c'"),
        ({"refresh_params": {"refresh_token": "x"}}, "refresh_params.refresh_token", "is set by Evergrant"),
        ({"token_params": {"client_secret": "x"}}, "token_params.client_secret", "is set by Evergrant"),
        ({**AUTHORIZE, "code_params": {"code": "x"}}, "code_params.code", "is set by Evergrant"),
        ({**NO_REFRESH, "refresh_params": {"a": "b"}}, "refresh_params", "has no meaning with grant"),
        ({**MINTED, "refresh_url": "https://acme.example/r"}, "refresh_url", "has no meaning with grant"),
        ({"refresh_url": "http://acme.example/r"}, "refresh_url", "must use https"),
        # Answers.
        ({"error_member": []}, "error_member", "at least 1 item"),
        ({"error_member": "error"}, "error_member", "valid array"),
        ({"answer_ok": {"member": "ok"}}, "answer_ok.equals", "is required"),
        ({"answer_ok": {"member": "ok", "equal": True}}, "answer_ok.equal", "did you mean 'equals'?"),
        ({"answer_names": {"expires": ["x"]}}, "answer_names.expires", "must be 'access_token'"),
        ({"lifetime_unit": "hours"}, "lifetime_unit", "must be 'seconds', 'milliseconds' or 'minutes'"),
        # Lifetimes.
        ({"refresh_token_lifetime": 0}, "refresh_token_lifetime", "whole number of seconds"),
        ({**NO_REFRESH, "refresh_token_lifetime": 5}, "refresh_token_lifetime", "has no meaning with grant"),
        ({"grant_lifetime": "1 year"}, "grant_lifetime", "whole number of seconds"),
        ({**MINTED, "grant_lifetime": 5}, "grant_lifetime", "has no meaning with grant"),
        ({"grant_limit": {"max": 0, "beyond": "refused"}}, "grant_limit.max", "greater than or equal to 1"),
        ({"grant_limit": {"max": 5, "beyond": "dies"}}, "grant_limit.beyond", "'oldest_dies' or 'refused'"),
        ({"grant_limit": {"max": 5}}, "grant_limit.beyond", "is required"),
        ({"grant_limit": {"maxx": 5}}, "grant_limit.maxx", "did you mean 'max'?"),
        ({"max_requests_per_second_per_account": 0}, "max_requests_per_second_per_account", "above 0"),
        # Scopes.
        ({"scopes": ["wriet"], "known_scopes": ["read", "write"]}, "scopes[0]", "'wriet' is none of known"),
        ({"known_scopes": ["a*b"]}, "known_scopes[0]", "one * at its end"),
        ({"known_scopes": ["a b"]}, "known_scopes[0]", "without spaces"),
        ({"known_scopes": ["a"], "scope_aliases": {"b": "c"}}, "scope_aliases.b", "is none of known_scopes"),
        # Revocation.
        ({**revoke(), "revoke_url": "https://acme.example/"}, "revoke", "cannot stand beside revoke_url"),
        (revoke(url="https://acme.example/{token}"), "revoke.url", "a token is never a part of a URL"),
        (revoke(url="https://{client_id}.acme.example/"), "revoke.url", "only of a revocation's path"),
        (revoke(body={"t": "{token}"}), "revoke", "must send the token exactly once"),
        (revoke(auth="none"), "revoke", "must send the token exactly once"),
        (revoke(method="GET", body={"a": "b"}), "revoke.body", 'has no meaning with method = "GET"'),
        (revoke(method="PUT"), "revoke.method", "must be 'POST', 'DELETE' or 'GET'"),
        (revoke(auth="oauth"), "revoke.auth", "must be 'client'"),
        (revoke(token="id_token"), "revoke.token", "'refresh_token' or 'access_token'"),
        (
            revoke(auth="client", method="GET", query={"t": "{token}"}),
            "revoke.auth",
            "puts the client into a body",
        ),
        (
            revoke(auth="client", body={"t": "{token}", "client_id": "{client_id}"}, body_format="json"),
            "revoke.body",
            "must not name the client",
        ),
        (
            {**revoke(auth="basic", body={"t": "{token}"}), "client_auth": "none"},
            "revoke.auth",
            'cannot be "basic"',
        ),
        (
            {**NO_REFRESH, **revoke(token="refresh_token")},
            "revoke.token",
            'must be "access_token"',
        ),
        (revoke(body={"t": "{access_token}"}), "revoke.body.t", "placeholders {token} and {client_id}"),
        (revoke(urll="x"), "revoke.urll", "did you mean 'url'?"),
        # Accounts.
        (account(url=None), "account.url", 'is required with from = "request"'),
        (account(id=None), "account.id", "is required"),
        ({"account": {"id": "sub"}}, "account.from", "is required"),
        (account(**{"from": "cookie"}), "account.from", "'id_token', 'callback' or 'variable'"),
        (account(**{"from": "answer"}), "account.url", 'has no meaning with from = "answer"'),
        (account(**{"from": "callback", "url": None, "bearer": False}), "account.bearer", "has no meaning"),
        (account(bearer=False), "account", "must send the token exactly once"),
        (account(**{"from": "variable", "url": None}), "account.id", "declared variables in braces"),
        (
            account(**{"from": "variable", "url": None, "id": "{shop}"}),
            "account.id",
            "declared variables in braces",
        ),
        (account(**{"from": "variable", "url": None, "label": "x"}), "account.label", "has no meaning"),
        (revoke(auth="body", body={"t": "{token}"}, method="GET"), "revoke.auth", "into a body"),
        (
            revoke(auth="body", body={"t": "{token}"}) | {"client_auth": "none"},
            "revoke.auth",
            "there is no secret",
        ),
        (account(body={"a": "b"}), "account.body", 'use "POST"'),
        (account(lable="x"), "account.lable", "did you mean 'label'?"),
        # Judgement.
        (
            {"judgements": [{"on": "token", "status": 400, "outcome": "grant_rejected"}]},
            "judgements[0]",
            "a status alone says too little",
        ),
        (
            {"judgements": [{"on": "token", "code": "x", "outcome": "refused", "where": {"member": "a"}}]},
            "judgements[0].where.contains",
            "is required",
        ),
        (
            {"judgements": [{"on": "token", "outcome": "refused", "where": {"member": "a", "contains": ""}}]},
            "judgements[0].where.contains",
            "at least 1 character",
        ),
    ],
)  # fmt: skip
def test_a_bad_definition_names_file_key_and_reason(changes: dict[str, Any], key: str, reason: str) -> None:
    message = problem(**changes)

    assert f"test.toml: [providers.acme] {key}: " in message
    assert reason in message


def test_every_key_is_understood() -> None:
    """A definition that says everything there is to say."""
    definition = acme(
        **AUTHORIZE,
        **shop(default="common"),
        issuer="https://acme.example",
        refresh_url="https://{shop}.acme.example/refresh",
        device_url="https://acme.example/device",
        authorize_params={"access_type": "offline"},
        authorize_names={"client_id": "client_key"},
        field_names={
            "client_id": "client_key",
            "code": "auth_code",
            "code_verifier": "verifier",
            "scope": "s",
        },
        refresh_params={"a": "1"},
        code_params={"b": "2"},
        error_member=["error", "error.code"],
        answer_ok={"member": "ok", "equals": True},
        answer_names={"expires_at": ["expiry"], "refresh_expires_at": ["r"], "id_token": ["id"]},
        lifetime_unit="milliseconds",
        refresh_token_lifetime=60,
        grant_lifetime=3600,
        grant_limit={"max": 100, "beyond": "oldest_dies"},
        scopes=["read", "files.all"],
        known_scopes=["read", "files.*"],
        scope_aliases={"read": "https://acme.example/read"},
        max_requests_per_second_per_account=0.5,
        revoke={**REVOKE, "url": "https://acme.example/apps/{client_id}/grant", "method": "DELETE"},
        account={**ACCOUNT, "label": "email"},
        judgements=[
            {
                "on": "token",
                "code": "invalid_grant",
                "where": {"member": "error_description", "contains": "processed"},
                "outcome": "transient",
            },
            {"on": "account", "status": 403, "outcome": "insufficient_scope"},
            {"on": "device", "code": "slow", "outcome": "rate_limited"},
        ],
        unconfirmed={"variables.shop": "a guess", "revoke": "a guess"},
    )

    assert definition.lifetime_unit is LifetimeUnit.MILLISECONDS
    assert definition.grant_lifetime == timedelta(hours=1)
    assert definition.grant_limit is not None
    assert definition.grant_limit.beyond is BeyondLimit.OLDEST_DIES
    assert definition.revoke is not None
    assert (definition.revoke.auth, definition.revoked_token) == (RevokeAuth.BEARER, TokenKind.ACCESS_TOKEN)
    assert definition.account is not None
    assert definition.account.source is AccountSource.REQUEST
    assert definition.capabilities == ("connect", "device", "refresh", "health_check", "revoke")
    assert definition.kept_variables == ("shop",)
    assert [len(definition.rules[endpoint]) for endpoint in Endpoint] == [1, 0, 0, 1, 2]
