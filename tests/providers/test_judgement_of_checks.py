"""A health check's answer is judged by provider, status and body together."""

from __future__ import annotations

from datetime import UTC, datetime
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
from providers.catalogue import load
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.judgement import CheckResult, judge_check
from tests.providers.making import acme, answer

CATALOGUE = load()
WIX_ALIVE = {"active": True, "exp": 1767225600, "clientId": "c", "siteId": "s", "instanceId": "i"}


def verdict(definition: ProviderDefinition, given: WireAnswer) -> tuple[type, str] | CheckResult:
    try:
        return judge_check(definition, given)
    except ProviderError as error:
        found = error
    assert found.http_status == given.status
    return type(found), found.code


def google(reason: str) -> dict[str, Any]:
    return {"error": {"code": 403, "message": "x", "status": "X", "errors": [{"reason": reason}]}}


@pytest.mark.parametrize(
    ("provider_id", "body", "expected"),
    [
        ("gsc", {}, CheckResult()),
        ("gsc", {"siteEntry": []}, CheckResult()),
        ("bing", {"d": []}, CheckResult()),
        ("wordpress", {"client_id": "1", "user_id": "2", "scope": "global"}, CheckResult(scope=("global",))),
        ("wordpress", {"client_id": "1", "user_id": "2", "scope": None}, CheckResult()),
        ("wix", WIX_ALIVE, CheckResult(expires_at=datetime(2026, 1, 1, tzinfo=UTC))),
        (
            "wix-app",
            {"active": True, "exp": "1767225600"},
            CheckResult(expires_at=datetime(2026, 1, 1, tzinfo=UTC)),
        ),
        ("wix-legacy", {"active": True, "exp": "never"}, CheckResult()),
        # As a text in the example of Wix's own page.
        ("wix-legacy", {"active": "true"}, CheckResult()),
        ("wix", {"active": "True"}, CheckResult()),
    ],
)
def test_a_living_token_is_healthy(provider_id: str, body: Any, expected: CheckResult) -> None:
    assert verdict(CATALOGUE.get(provider_id), answer(200, body)) == expected


@pytest.mark.parametrize(
    ("provider_id", "status", "body", "kind", "code"),
    [
        ("gsc", 401, google("authError"), GrantRejected, "token_rejected"),
        ("gsc", 403, google("insufficientPermissions"), InsufficientScope, "insufficient_scope"),
        ("gsc", 403, google("rateLimitExceeded"), RateLimited, "quota_exceeded"),
        ("gsc", 403, google("quotaExceeded"), RateLimited, "quota_exceeded"),
        ("gsc", 403, google("accessNotConfigured"), ClientMisconfigured, "api_not_enabled"),
        ("gsc", 403, google("forbidden"), Refused, "http_403"),
        ("gsc", 429, google("rateLimitExceeded"), RateLimited, "rate_limited"),
        ("gsc", 500, google("backendError"), Unavailable, "http_500"),
        ("bing", 400, {"ErrorCode": 18, "Message": "ERROR!!! InvalidToken"}, GrantRejected, "token_rejected"),
        ("bing", 400, {"ErrorCode": 6}, GrantRejected, "user_blocked"),
        ("bing", 400, {"ErrorCode": 14}, InsufficientScope, "not_authorized"),
        ("bing", 400, {"ErrorCode": 4}, RateLimited, "throttled"),
        ("bing", 400, {"ErrorCode": 5}, RateLimited, "throttled"),
        ("bing", 400, {"ErrorCode": 17}, RateLimited, "throttled"),
        ("bing", 400, {"ErrorCode": 3}, Refused, "invalid_api_key"),
        ("bing", 400, {"ErrorCode": 99}, Refused, "http_400"),
        ("bing", 401, b"", GrantRejected, "token_rejected"),
        (
            "wordpress",
            400,
            {"error": "invalid_request", "error_description": "The specified token is invalid."},
            GrantRejected,
            "token_rejected",
        ),
        ("wordpress", 400, {"error": "invalid_request"}, Refused, "invalid_request"),
        ("wordpress", 400, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        ("wordpress", 400, {"error": "unknown_thing"}, Refused, "unknown_thing"),
        ("wordpress", 404, b"", ClientMisconfigured, "endpoint_gone"),
        ("wix", 200, {"active": False}, GrantRejected, "token_rejected"),
        ("wix", 200, {"active": "false"}, GrantRejected, "token_rejected"),
        ("wix", 200, {"active": "yes"}, GrantRejected, "token_rejected"),
        ("wix", 200, {"active": 1}, GrantRejected, "token_rejected"),
        ("wix", 200, {}, Malformed, "answer_invalid"),
        ("wix", 200, b"<html>", Malformed, "answer_invalid"),
        ("wix-app", 200, {"active": False}, GrantRejected, "token_rejected"),
        ("wix-legacy", 200, {"active": False}, GrantRejected, "token_rejected"),
        ("wix-legacy", 400, {"message": "bad"}, Refused, "http_400"),
    ],
)
def test_the_dialects_of_the_built_in_providers(
    provider_id: str, status: int, body: Any, kind: type[ProviderError], code: str
) -> None:
    assert verdict(CATALOGUE.get(provider_id), answer(status, body)) == (kind, code)


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "code"),
    [
        (401, b"", {}, GrantRejected, "token_rejected"),
        (401, {"error": "invalid_token"}, {}, GrantRejected, "token_rejected"),
        (401, b"", {"www_authenticate": 'Bearer error="invalid_token"'}, GrantRejected, "token_rejected"),
        (400, {"error": "invalid_token"}, {}, GrantRejected, "token_rejected"),
        (403, {"error": "insufficient_scope"}, {}, InsufficientScope, "insufficient_scope"),
        (
            403,
            b"",
            {"www_authenticate": 'Bearer realm="x", error="insufficient_scope", scope="a"'},
            InsufficientScope,
            "insufficient_scope",
        ),
        (403, b"", {}, Refused, "http_403"),
        (200, {"error": "invalid_token"}, {}, GrantRejected, "token_rejected"),
        (200, {"error": "odd_thing"}, {}, Refused, "odd_thing"),
        (302, b"", {}, ClientMisconfigured, "endpoint_moved"),
        (404, b"", {}, ClientMisconfigured, "endpoint_gone"),
        (408, b"", {}, Unavailable, "http_408"),
        (429, {"error": "invalid_token"}, {}, RateLimited, "rate_limited"),
        (500, {"error": "invalid_token"}, {}, Unavailable, "http_500"),
        (502, b"", {}, Unavailable, "http_502"),
        (503, b"", {}, Unavailable, "unavailable"),
        (418, b"", {}, Refused, "http_418"),
    ],
)
def test_the_defaults_of_rfc_6750_and_of_the_status(
    status: int, body: Any, headers: dict[str, str], kind: type[ProviderError], code: str
) -> None:
    """A check presents no refresh token, so trouble of the server's is never a doubt."""
    assert verdict(acme(), answer(status, body, **headers)) == (kind, code)


@pytest.mark.parametrize("said", [{"error": 403}, {"error": {"message": "No"}}, {"error": "Forbidden"}])
def test_a_body_in_other_words_does_not_hide_the_header(said: Any) -> None:
    """RFC 6750 §3: what kind of refusal it is stands in WWW-Authenticate; the body is the provider's own."""
    narrow = {"www_authenticate": 'Bearer error="insufficient_scope"'}
    expired = {"www_authenticate": 'Bearer error="invalid_token"'}

    assert verdict(acme(), answer(403, said, **narrow)) == (InsufficientScope, "insufficient_scope")
    assert verdict(acme(), answer(403, said, **expired)) == (GrantRejected, "token_rejected")
    assert verdict(acme(), answer(401, {"error": "invalid_token"}, **narrow))[0] is GrantRejected  # type: ignore[index]


def test_without_a_condition_any_success_is_healthy() -> None:
    assert verdict(acme(), answer(200, b"<html>hello</html>")) == CheckResult()
    assert verdict(acme(), answer(204)) == CheckResult()
    assert verdict(acme(), WireAnswer(200, oversized=True)) == CheckResult()


def test_a_condition_that_an_oversized_answer_hides_is_not_judged() -> None:
    check = {"url": "https://a.example/", "ok": {"member": "data.valid", "equals": "yes"}}

    assert verdict(acme(check=check), WireAnswer(200, oversized=True)) == (Malformed, "answer_too_large")
    assert verdict(acme(check=check), answer(200, {"data": {"valid": "yes"}})) == CheckResult()
