"""A definition either validates or says, for each problem, file, key, reason and how to mend it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from domain.errors import ConfigurationError
from domain.provider import GrantKind, Replay, Rotation
from tests.providers.making import PLAIN, acme

WORDPRESS_LIKE = {"grant": "none", "rotation": None, "replay_window": None}


def problem(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        acme(**changes)
    return str(caught.value)


def rule(**changes: Any) -> list[dict[str, Any]]:
    return [{"on": "token", "status": 400, "outcome": "refused", **changes}]


def check(**changes: Any) -> dict[str, Any]:
    return {"url": "https://acme.example/userinfo", **changes}


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"display_name": None}, "display_name", "is required"),
        ({"display_name": ""}, "display_name", "at least 1 character"),
        ({"display_name": 7}, "display_name", "valid string"),
        ({"grant": "password"}, "grant", "'refresh_token', 'client_credentials' or 'none', not 'password'"),
        ({"grant": None}, "grant", "is required"),
        ({"token_url": None}, "token_url", 'is required with grant = "refresh_token"'),
        ({"token_url": "http://acme.example/token"}, "token_url", "must use https"),
        ({"token_url": "ftp://acme.example/token"}, "token_url", "such as https://host/path"),
        ({"token_url": "acme.example/token"}, "token_url", "such as https://host/path"),
        ({"token_url": "https://"}, "token_url", "such as https://host/path"),
        ({"token_url": "https://user:pw@acme.example/"}, "token_url", "neither credentials"),
        ({"token_url": "https://acme.example/#x"}, "token_url", "nor a fragment"),
        ({"token_url": "https://acme.example/a b"}, "token_url", "without spaces"),
        ({"token_url": "https://acme.example:99999/"}, "token_url", "is not a URL"),
        ({"token_url": "http://127.0.0.1.evil.example/"}, "token_url", "must use https"),
        ({"token_url": "https://acme.example\\@evil.example/"}, "token_url", "printable ASCII"),
        ({"authorize_url": "http://acme.example/"}, "authorize_url", "must use https"),
        ({"revoke_url": "nowhere"}, "revoke_url", "such as https://host/path"),
        ({"client_auth": "private_key_jwt"}, "client_auth", "must be 'client_secret_post'"),
        ({"body_format": "xml"}, "body_format", "must be 'form' or 'json', not 'xml'"),
        ({"scopes": "read"}, "scopes", "valid array"),
        ({"scopes": ["read", 1]}, "scopes[1]", "valid string"),
        ({"scope_separator": ";"}, "scope_separator", "must be ' ' or ',', not ';'"),
        ({"pkce": "yes"}, "pkce", "valid boolean"),
        ({"tenant_field": ""}, "tenant_field", "at least 1 character"),
        ({"tenant_field": ["shop"]}, "tenant_field", "valid string"),
        ({"access_token_lifetime": "3600"}, "access_token_lifetime", "whole number of seconds"),
        ({"access_token_lifetime": 0}, "access_token_lifetime", "whole number of seconds"),
        ({"access_token_lifetime": 1.5}, "access_token_lifetime", "whole number of seconds"),
        ({"access_token_lifetime": True}, "access_token_lifetime", "whole number of seconds"),
        ({"access_token_lifetime": 10**12}, "access_token_lifetime", "whole number of seconds"),
        ({"access_token_lifetime": date(2026, 1, 1)}, "access_token_lifetime", "whole number of seconds"),
        ({"rotation": "sometimes"}, "rotation", "must be 'none', 'optional' or 'single_use'"),
        ({"replay_window": None}, "replay_window", 'is required with rotation = "single_use"'),
        ({"replay_window": -1}, "replay_window", "must be seconds"),
        ({"replay_window": "forever"}, "replay_window", '"until_successor_used" or "unlimited"'),
        ({"rotation": "none"}, "replay_window", "has no meaning without rotation"),
        ({"rotation": None}, "replay_window", "has no meaning without rotation"),
        ({"grant": "client_credentials"}, "rotation", 'has no meaning with grant = "client_credentials"'),
        ({**WORDPRESS_LIKE, "replay_window": 5}, "replay_window", 'has no meaning with grant = "none"'),
        (
            {**WORDPRESS_LIKE, "refresh_token_idle_lifetime": 5},
            "refresh_token_idle_lifetime",
            'has no meaning with grant = "none"',
        ),
        ({**WORDPRESS_LIKE, "check": None}, "check", 'is required with grant = "none"'),
        (
            {**WORDPRESS_LIKE, "grant": "client_credentials", "client_auth": "none"},
            "client_auth",
            'cannot be "none"',
        ),
        ({"max_requests_per_second": 0}, "max_requests_per_second", "above 0"),
        ({"max_requests_per_second": "fast"}, "max_requests_per_second", "valid number"),
        ({"max_concurrency": 0}, "max_concurrency", "greater than or equal to 1"),
        ({"field_names": {"clientid": "x"}}, "field_names.clientid", "must be 'grant_type'"),
        (
            {"client_auth": "client_secret_basic", "field_names": {"client_id": "x"}},
            "field_names",
            "cannot rename",
        ),
        ({"token_headers": {"Authorization": "x"}}, "token_headers", "is set by Evergrant"),
        ({"token_headers": {"X-A": "a\r\nb"}}, "token_headers", "printable ASCII"),
        ({"token_headers": {"X A": "a"}}, "token_headers", "printable ASCII"),
        ({"answer_names": {"token": ["x"]}}, "answer_names.token", "must be 'access_token'"),
        ({"unconfirmed": {"tokn_url": "x"}}, "unconfirmed.tokn_url", "names no key"),
        ({"tokn_url": "x"}, "tokn_url", "did you mean 'token_url'?"),
        ({"zzzzz": "x"}, "zzzzz", "known are access_token_lifetime"),
        ({"id": "other"}, "id", "the table's name is the id"),
        ({"check": check(url="http://acme.example/")}, "check.url", "must use https"),
        ({"check": check(method="DELETE")}, "check.method", "must be 'GET' or 'POST', not 'DELETE'"),
        ({"check": check(intervall=5)}, "check.intervall", "did you mean 'interval'?"),
        ({"check": check(bearer=False)}, "check", "must send the token exactly once"),
        ({"check": check(query={"t": "{access_token}"})}, "check", "must send the token exactly once"),
        ({"check": check(headers={"X-T": "{access_token}"})}, "check", "must send the token exactly once"),
        (
            {"check": check(bearer=False, query={"t": "{access_token}"}, headers={"T": "{access_token}"})},
            "check",
            "must send the token exactly once",
        ),
        ({"check": check(headers={"Authorization": "x"})}, "check.headers", "is set by Evergrant"),
        ({"check": check(bearer=False, headers={"X-T": "{token}"})}, "check.headers", "no other braces"),
        ({"check": check(headers={"Cookie": "t={access_token}"})}, "check.headers", "is set by Evergrant"),
        (
            {"check": check(bearer=False, query={"t": "{refresh_token}"})},
            "check.query.t",
            "placeholders {access_token} and {client_id}",
        ),
        ({"check": check(query={"t": "{"})}, "check.query.t", "no other braces"),
        ({"check": check(query={"t": "{acces_token}"})}, "check.query.t", "no other braces"),
        ({"check": check(query={"t": "{access_token"})}, "check.query.t", "no other braces"),
        ({"check": check(query={"t": "{ access_token}"})}, "check.query.t", "no other braces"),
        ({"check": check(body={"a": "b"})}, "check.body", 'use "POST"'),
        ({"check": check(ok={"member": "active"})}, "check.ok.equals", "is required"),
        ({"check": "https://acme.example/"}, "check", "must be a table"),
        (
            {"judgements": rule(on="refresh")},
            "judgements[0].on",
            "must be 'token', 'check', 'revoke', 'account'",
        ),
        ({"judgements": rule(status=99)}, "judgements[0].status", "greater than or equal to 100"),
        ({"judgements": rule(outcome="dead")}, "judgements[0].outcome", "'grant_rejected'"),
        ({"judgements": rule(outcome="insufficient_scope")}, "judgements[0]", "belongs to checks"),
        ({"judgements": rule(name="Not A Code")}, "judgements[0].name", "should match pattern"),
        ({"judgements": rule(code=[])}, "judgements[0].code", "at least 1 item"),
        ({"judgements": rule(code=True)}, "judgements[0].code", "a word or a number"),
        ({"judgements": [{"on": "token", "outcome": "refused"}]}, "judgements[0]", "needs a status, a code"),
    ],
)
def test_a_bad_definition_names_file_key_and_reason(changes: dict[str, Any], key: str, reason: str) -> None:
    message = problem(**changes)

    assert f"test.toml: [providers.acme] {key}: " in message
    assert reason in message


def test_all_problems_of_a_table_are_reported_at_once() -> None:
    """An operator mends a file in one go, not one restart a mistake."""
    message = problem(grant="password", token_url="http://acme.example/", max_concurrency=0)

    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "[providers.acme] grant",
        "[providers.acme] token_url",
        "[providers.acme] max_concurrency",
    ]


def test_a_secret_in_the_wrong_file_is_not_repeated_in_the_error() -> None:
    """A client secret pasted into a definition is refused without being quoted."""
    message = problem(client_secret="hunter2-hunter2", display_name=["hunter2-hunter2"])

    assert "client_secret: unknown key" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.9.9.9", "localhost:1", "[::1]:8080"])
def test_plain_http_is_allowed_to_loopback_hosts(host: str) -> None:
    assert acme(token_url=f"http://{host}/token").token_url == f"http://{host}/token"


@pytest.mark.parametrize(
    ("changes", "rotation", "window", "replay"),
    [
        ({}, Rotation.SINGLE_USE, timedelta(0), Replay.LAST_RESORT),
        ({"replay_window": 600}, Rotation.SINGLE_USE, timedelta(seconds=600), Replay.WITHIN_WINDOW),
        ({"replay_window": 3}, Rotation.SINGLE_USE, timedelta(seconds=3), Replay.LAST_RESORT),
        ({"replay_window": "unlimited"}, Rotation.SINGLE_USE, "unlimited", Replay.FREELY),
        (
            {"rotation": "optional", "replay_window": "until_successor_used"},
            Rotation.OPTIONAL,
            "until_successor_used",
            Replay.FREELY,
        ),
        ({"rotation": "none", "replay_window": None}, Rotation.NONE, None, Replay.FREELY),
        ({"rotation": None, "replay_window": None}, Rotation.OPTIONAL, timedelta(0), Replay.LAST_RESORT),
    ],
)
def test_unknown_rotation_counts_as_optional_without_a_window(
    changes: dict[str, Any], rotation: Rotation, window: object, replay: Replay
) -> None:
    definition = acme(**changes)

    assert (definition.facts.rotation, definition.facts.replay_window) == (rotation, window)
    assert definition.replay is replay


def test_a_plain_provider_needs_no_more_than_the_contract_names() -> None:
    """The defaults are RFC 6749's, and the facts carry durations, not numbers."""
    definition = acme(access_token_lifetime=3600, refresh_token_idle_lifetime=7776000)

    assert definition.facts.grant is GrantKind.REFRESH_TOKEN
    assert definition.facts.access_token_lifetime == timedelta(hours=1)
    assert definition.facts.refresh_token_idle_lifetime == timedelta(days=90)
    assert definition.facts.check_interval == timedelta(days=1)
    assert definition.capabilities == ("refresh", "health_check")
    assert definition.requires_secret


def test_capabilities_follow_from_the_definition() -> None:
    assert acme(check=None).capabilities == ("refresh",)
    assert acme(**WORDPRESS_LIKE).capabilities == ("health_check",)


def test_a_definition_cannot_be_changed() -> None:
    definition = acme()

    with pytest.raises(ValueError, match="frozen"):
        definition.token_url = "https://evil.example/"  # type: ignore[misc]  # what the test is about

    assert definition.token_url == PLAIN["token_url"]
