"""Errors in other members, success that must be said, and rules that look twice."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    InsufficientScope,
    Malformed,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.token import Answer
from providers.accounts import Account, judge_account
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.judgement import CheckResult, judge_check, judge_token
from tests.providers.making import acme, answer

TOKENS = {"access_token": "AT-new"}


def verdict(definition: ProviderDefinition, given: WireAnswer) -> tuple[type, str] | None:
    try:
        assert isinstance(judge_token(definition, given), Answer)
    except ProviderError as error:
        return type(error), error.code
    return None


@pytest.mark.parametrize(
    ("members", "status", "said", "expected"),
    [
        (["error_code"], 200, {**TOKENS, "error_code": "invalid_grant"}, (GrantRejected, "invalid_grant")),
        (["error_code"], 400, {"error_code": "invalid_client"}, (ClientMisconfigured, "invalid_client")),
        (["error_code"], 200, {**TOKENS, "error": "invalid_grant"}, None),
        (["error_code"], 200, {**TOKENS, "error_code": ""}, None),
        (["error_code"], 200, {**TOKENS, "error_code": 0}, None),
        (["error_code"], 200, {**TOKENS, "error_code": 40001}, (Refused, "http_200")),
        (
            ["error", "error.code"],
            400,
            {"error": {"code": "Invalid_Grant"}},
            (GrantRejected, "invalid_grant"),
        ),
        (["error", "error.code"], 400, {"error": "invalid_grant"}, (GrantRejected, "invalid_grant")),
        (["error", "error.code"], 200, {**TOKENS, "error": {"text": "no"}}, (Refused, "http_200")),
        (["errors.0.type"], 400, {"errors": [{"type": "invalid_grant"}]}, (GrantRejected, "invalid_grant")),
    ],
)
def test_an_error_stands_where_the_definition_looks(
    members: list[str], status: int, said: Any, expected: tuple[type, str] | None
) -> None:
    """In order; the first that has a code gives it, and an error without one is an error too."""
    assert verdict(acme(error_member=members), answer(status, said)) == expected


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (200, {**TOKENS, "ok": True}, None),
        (200, {**TOKENS, "ok": True, "error": {"code": "ok"}}, None),
        (200, {**TOKENS, "ok": False}, (Refused, "http_200")),
        (200, {"ok": False, "error": "invalid_grant"}, (GrantRejected, "invalid_grant")),
        (200, {"ok": False, "error": "invalid_refresh_token"}, (Refused, "invalid_refresh_token")),
        (200, {**TOKENS, "ok": 1}, (Refused, "http_200")),
        (200, TOKENS, (Malformed, "answer_invalid")),
        (400, {**TOKENS, "ok": True}, (Refused, "http_400")),
        (503, {**TOKENS, "ok": True}, (Unavailable, "unavailable")),
    ],
)
def test_a_success_must_say_so_where_the_definition_wants_it(
    status: int, said: Any, expected: tuple[type, str] | None
) -> None:
    """Slack's `ok`: false is an error, missing is not understood, and true outweighs what else is there."""
    definition = acme(answer_ok={"member": "ok", "equals": True})

    assert verdict(definition, answer(status, said)) == expected


PROCESSED = {
    "on": "token",
    "code": "invalid_grant",
    "where": {"member": "error_description", "contains": "already being processed"},
    "outcome": "transient",
    "name": "being_processed",
}


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("token request is already being processed", (Unavailable, "being_processed")),
        ("Token Request Is ALREADY Being Processed.", (Unavailable, "being_processed")),
        ("expired access/refresh token", (GrantRejected, "invalid_grant")),
        (None, (GrantRejected, "invalid_grant")),
        (["already being processed"], (GrantRejected, "invalid_grant")),
        ("x" * 20_000 + "already being processed", (GrantRejected, "invalid_grant")),
    ],
)
def test_a_rule_may_look_into_the_description(description: object, expected: tuple[type, str]) -> None:
    """Salesforce says invalid_grant of a token that another request is using: weather, not death."""
    said = {"error": "invalid_grant", "error_description": description}

    assert verdict(acme(judgements=[PROCESSED]), answer(400, said)) == expected


def test_a_check_that_says_ok_is_alive_whatever_else_it_says() -> None:
    """TikTok's error object says "ok"."""
    check = {"url": "https://acme.example/me", "ok": {"member": "error.code", "equals": "ok"}}
    definition = acme(check=check)

    assert judge_check(definition, answer(200, {"error": {"code": "ok"}})) == CheckResult()
    with pytest.raises(Refused):
        judge_check(definition, answer(200, {"error": {"code": "odd"}}))


ACCOUNT = {"from": "request", "url": "https://acme.example/me", "id": "data.id", "label": "data.name"}


def account(given: WireAnswer, **changes: Any) -> Account | tuple[type, str]:
    try:
        return judge_account(acme(account=ACCOUNT, **changes), given, secrets=("AT-zq-0123456789",))
    except ProviderError as error:
        return type(error), error.code


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (200, {"data": {"id": 7, "name": "Ann"}}, Account("7", "Ann")),
        (200, {"data": {"id": " a-1 ", "name": "\u0000"}}, Account("a-1")),
        (200, {"data": {}}, (Malformed, "answer_account_invalid")),
        (200, {"data": {"id": "AT-zq-0123456789"}}, (Malformed, "answer_account_invalid")),
        (200, b"<html>", (Malformed, "answer_account_invalid")),
        (401, b"", (GrantRejected, "token_rejected")),
        (403, {"error": "insufficient_scope"}, (InsufficientScope, "insufficient_scope")),
        (403, {"reason": "quota"}, (RateLimited, "quota")),
        (418, b"", (Refused, "own_rule")),
        (404, b"", (ClientMisconfigured, "endpoint_gone")),
        (500, b"", (Unavailable, "http_500")),
    ],
)
def test_an_account_is_asked_for_like_a_check(status: int, said: Any, expected: object) -> None:
    """Rules of its own first, then those of checks, then RFC 6750."""
    rules = [
        {"on": "check", "status": 418, "outcome": "transient"},
        {"on": "check", "member": "reason", "code": "quota", "outcome": "rate_limited"},
        {"on": "account", "status": 418, "outcome": "refused", "name": "own_rule"},
    ]

    assert account(answer(status, said), judgements=rules) == expected


def test_a_huge_answer_names_no_account() -> None:
    assert account(WireAnswer(200, {}, b"", oversized=True)) == (Malformed, "answer_too_large")


@pytest.mark.parametrize(
    "said",
    [
        b'{"access_token": "AT-new", "refresh_token": "RT-new", "name": "Ren\xe9"}',
        b'{"access_token": "AT-new", "refresh_token": "RT-new", "name": "two\nlines"}',
        b'{"access_token": "AT-new", "refresh_token": "RT-new", "token_type": "BearerToken"}',
        b'{"access_token": "AT-new", "refresh_token": "RT-new", "token_type": {"name": "Bearer"}}',
    ],
)
def test_what_stands_beside_rotated_tokens_never_costs_them(said: bytes) -> None:
    """The refresh token that was presented is spent: an answer that is thrown away is a lost grant."""
    found = judge_token(acme(), answer(200, said))

    assert found.refresh_token is not None
    assert found.refresh_token.get_secret_value() == "RT-new"


def test_an_empty_member_does_not_hide_the_token_in_the_next_place() -> None:
    names = {"refresh_token": ["refresh_token", "data.refresh_token"]}
    said = {**TOKENS, "refresh_token": "", "data": {"refresh_token": "RT-new"}}
    found = judge_token(acme(answer_names=names), answer(200, said))

    assert found.refresh_token is not None
