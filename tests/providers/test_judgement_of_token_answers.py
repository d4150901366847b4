"""A token answer is judged by provider, status and body together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    Malformed,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.token import Answer
from providers.catalogue import load
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.judgement import judge_token
from tests.providers.making import acme, answer

CATALOGUE = load()
#: Nothing is lost by presenting again / a lost answer is a lost grant.
FREELY, LAST_RESORT = acme(rotation="none", replay_window=None), acme()
TOKENS = {"access_token": "AT-new"}


def judged(definition: ProviderDefinition, given: WireAnswer) -> Answer | ProviderError:
    try:
        return judge_token(definition, given)
    except ProviderError as error:
        return error


def verdict(definition: ProviderDefinition, given: WireAnswer) -> tuple[type, str]:
    found = judged(definition, given)
    assert isinstance(found, ProviderError)
    assert found.http_status == given.status
    return type(found), found.code


def plain(found: Answer) -> dict[str, Any]:
    return {
        "access_token": found.access_token.get_secret_value(),
        "refresh_token": None if found.refresh_token is None else found.refresh_token.get_secret_value(),
        "expires_in": found.expires_in,
        "scope": found.scope,
        "refresh_expires_in": found.refresh_expires_in,
    }


NOTHING_ELSE = {"refresh_token": None, "expires_in": None, "scope": None, "refresh_expires_in": None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"refresh_token": "RT-new"}, {"refresh_token": "RT-new"}),
        ({"refresh_token": None}, {}),
        ({"refresh_token": ""}, {}),
        ({"token_type": "bearer"}, {}),
        ({"token_type": "BEARER"}, {}),
        ({"token_type": "Bearer "}, {}),
        ({"token_type": "mac"}, {}),
        ({"token_type": 5}, {}),
        ({"refresh_token": False}, {}),
        ({"expires_in": 3600}, {"expires_in": timedelta(hours=1)}),
        ({"expires_in": "3599"}, {"expires_in": timedelta(seconds=3599)}),
        ({"expires_in": 14400.0}, {"expires_in": timedelta(hours=4)}),
        ({"expires_in": None}, {}),
        ({"scope": "read write"}, {"scope": ("read", "write")}),
        ({"scope": "read,write, admin"}, {"scope": ("read", "write", "admin")}),
        ({"scope": ["read", "write"]}, {"scope": ("read", "write")}),
        ({"scope": ""}, {}),
        ({"scope": 5}, {}),
        ({"refresh_token_expires_in": 60}, {"refresh_expires_in": timedelta(minutes=1)}),
        ({"x_refresh_token_expires_in": "60"}, {"refresh_expires_in": timedelta(minutes=1)}),
        ({"error": None}, {}),
        ({"error": ""}, {}),
        ({"error_description": "none"}, {}),
    ],
)
def test_a_good_answer_is_read(body: dict[str, Any], expected: dict[str, Any]) -> None:
    found = judged(LAST_RESORT, answer(200, {**TOKENS, **body}))

    assert isinstance(found, Answer)
    assert plain(found) == {"access_token": "AT-new", **NOTHING_ELSE, **expected}


@pytest.mark.parametrize(
    "lifetime", [True, False, -1, 0, "-5", "soon", "1e9", [], {}, 10**12, "9" * 5000, 1e400]
)
def test_a_lifetime_that_makes_no_sense_is_unknown_and_costs_no_token(lifetime: object) -> None:
    """Throwing the answer away would lose a rotated refresh token for the sake of a number."""
    found = judged(LAST_RESORT, answer(200, {**TOKENS, "refresh_token": "RT-new", "expires_in": lifetime}))

    assert isinstance(found, Answer)
    assert plain(found) == {"access_token": "AT-new", **NOTHING_ELSE, "refresh_token": "RT-new"}


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("content_type", ["text/html", "application/json; charset=utf-8"])
def test_json_is_json_whatever_the_content_type_says(status: int, content_type: str) -> None:
    assert isinstance(judged(LAST_RESORT, answer(status, TOKENS, content_type=content_type)), Answer)
    assert isinstance(judged(LAST_RESORT, answer(status, b"\xef\xbb\xbf" + b'{"access_token": "a"}')), Answer)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "answer_not_json"),
        (b"<html>welcome</html>", "answer_not_json"),
        (b"access_token=a&token_type=bearer", "answer_not_json"),
        (b"[]", "answer_not_json"),
        (b'"AT"', "answer_not_json"),
        (b"null", "answer_not_json"),
        (b'{"access_token": "AT', "answer_not_json"),
        (b"\xff\xfe\xfd", "answer_not_json"),
        (b"[" * 200_000, "answer_not_json"),
        ({}, "answer_access_token_invalid"),
        ({"accessToken": "AT"}, "answer_access_token_invalid"),
        ({"access_token": ""}, "answer_access_token_invalid"),
        ({"access_token": None}, "answer_access_token_invalid"),
        ({"access_token": 5}, "answer_access_token_invalid"),
        ({"access_token": ["AT"]}, "answer_access_token_invalid"),
        ({"access_token": "A\nT"}, "answer_access_token_invalid"),
        ({"access_token": "\ud800"}, "answer_access_token_invalid"),
        ({**TOKENS, "refresh_token": 5}, "answer_refresh_token_invalid"),
        ({**TOKENS, "refresh_token": {"a": 1}}, "answer_refresh_token_invalid"),
        ({**TOKENS, "refresh_token": "R\x00T"}, "answer_refresh_token_invalid"),
    ],
)
def test_a_success_that_is_not_understood_is_malformed_which_is_a_doubt(body: Any, code: str) -> None:
    kind, found = verdict(LAST_RESORT, answer(200, body))

    assert (kind, found) == (Malformed, code)
    assert issubclass(kind, OutcomeUnknown)


def test_a_success_too_large_to_be_one_is_malformed() -> None:
    assert verdict(LAST_RESORT, WireAnswer(200, {}, b"", oversized=True)) == (Malformed, "answer_too_large")


def test_a_refusal_too_large_to_read_is_still_judged_by_its_status() -> None:
    assert verdict(LAST_RESORT, WireAnswer(503, {}, b"", oversized=True)) == (Unavailable, "unavailable")


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        # RFC 6749 §5.2, with any of the statuses that providers use for it.
        (400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (401, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (403, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (200, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (404, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (400, {"error": "INVALID_GRANT"}, GrantRejected, "invalid_grant"),
        (200, {**TOKENS, "error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (400, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        (401, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        (400, {"error": "unauthorized_client"}, ClientMisconfigured, "unauthorized_client"),
        (400, {"error": "unsupported_grant_type"}, ClientMisconfigured, "unsupported_grant_type"),
        (400, {"error": "temporarily_unavailable"}, Unavailable, "temporarily_unavailable"),
        (400, {"error": "slow_down"}, RateLimited, "slow_down"),
        # Recognised by no rule: tried again, no death sentence.
        (400, {"error": "invalid_request"}, Refused, "invalid_request"),
        (400, {"error": "invalid_scope"}, Refused, "invalid_scope"),
        (400, {"error": "bad_refresh_token"}, Refused, "bad_refresh_token"),
        (200, {"error": "bad_refresh_token"}, Refused, "bad_refresh_token"),
        (200, {"error": {"message": "no"}}, Refused, "http_200"),
        (400, {"error": {"code": 400}}, Refused, "http_400"),
        (400, {"message": "Bad Request"}, Refused, "http_400"),
        (400, b"", Refused, "http_400"),
        (400, b"<html>", Refused, "http_400"),
        (401, b"", Refused, "http_401"),
        (401, {"message": "Unauthorized"}, Refused, "http_401"),
        (403, b"<html>blocked</html>", Refused, "http_403"),
        (418, b"", Refused, "http_418"),
        (422, {"error": "expired-token.2"}, Refused, "expired-token.2"),
        # The status alone.
        (301, b"", ClientMisconfigured, "endpoint_moved"),
        (302, b"", ClientMisconfigured, "endpoint_moved"),
        (307, b"", ClientMisconfigured, "endpoint_moved"),
        (404, b"", ClientMisconfigured, "endpoint_gone"),
        (405, b"", ClientMisconfigured, "endpoint_gone"),
        (410, b"", ClientMisconfigured, "endpoint_gone"),
        (429, b"", RateLimited, "rate_limited"),
        (429, {"error": "invalid_grant"}, RateLimited, "rate_limited"),
        (503, b"", Unavailable, "unavailable"),
        (503, {"error": "invalid_grant"}, Unavailable, "unavailable"),
        (101, b"", Malformed, "http_101"),
    ],
)
def test_the_defaults_of_the_rfc_and_of_the_status(
    status: int, body: Any, kind: type[ProviderError], code: str
) -> None:
    for definition in (FREELY, LAST_RESORT):
        assert verdict(definition, answer(status, body)) == (kind, code)


@pytest.mark.parametrize(
    ("status", "body"),
    [(408, b"")]
    + [
        (status, body)
        for status in (500, 501, 502, 504, 520, 599)
        for body in (b"", {"error": "invalid_grant"}, {"error": "server_error"})
    ],
)
def test_a_server_error_is_a_doubt_where_the_answer_may_hold_a_lost_rotation(status: int, body: Any) -> None:
    """A gateway may have lost the answer after the provider rotated; its words prove nothing."""
    code = f"http_{status}"

    assert verdict(LAST_RESORT, answer(status, body)) == (OutcomeUnknown, code)
    assert verdict(acme(replay_window=600), answer(status, body)) == (OutcomeUnknown, code)
    assert verdict(FREELY, answer(status, body)) == (Unavailable, code)


def test_a_server_error_in_words_is_judged_like_one_in_the_status() -> None:
    assert verdict(LAST_RESORT, answer(400, {"error": "server_error"})) == (OutcomeUnknown, "server_error")
    assert verdict(FREELY, answer(400, {"error": "server_error"})) == (Unavailable, "server_error")


@pytest.mark.parametrize(
    ("provider_id", "status", "body", "kind", "code"),
    [
        ("gsc", 400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (
            "gsc",
            400,
            {"error": "invalid_grant", "error_subtype": "invalid_rapt"},
            GrantRejected,
            "invalid_grant",
        ),
        ("gsc", 400, {"error": "admin_policy_enforced"}, GrantRejected, "admin_policy_enforced"),
        ("gsc", 401, {"error": "deleted_client"}, ClientMisconfigured, "deleted_client"),
        ("gsc", 401, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        ("gsc", 401, {"error": "unauthorized_client"}, ClientMisconfigured, "unauthorized_client"),
        ("gsc", 400, {"error": "internal_failure"}, Unavailable, "internal_failure"),
        ("gsc", 500, {"error": "server_error"}, Unavailable, "server_error"),
        ("gsc", 500, b"", Unavailable, "http_500"),
        ("gsc", 408, b"", Unavailable, "http_408"),
        ("bing", 400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        ("bing", 401, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        ("bing", 400, {"ErrorCode": 18}, Refused, "http_400"),
        ("bing", 500, b"", OutcomeUnknown, "http_500"),
        ("bing", 404, b"", ClientMisconfigured, "endpoint_gone"),
        ("wix", 400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        ("wix", 403, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        ("wix", 502, b"", OutcomeUnknown, "http_502"),
        ("wix", 429, b"", RateLimited, "rate_limited"),
        ("wix-app", 400, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        ("wix-app", 502, b"", Unavailable, "http_502"),
        ("wix-app", 400, {"message": "", "details": {}}, Refused, "http_400"),
        ("wix-legacy", 403, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        ("wix-legacy", 504, b"", Unavailable, "http_504"),
    ],
)
def test_the_dialects_of_the_built_in_providers(
    provider_id: str, status: int, body: Any, kind: type[ProviderError], code: str
) -> None:
    assert verdict(CATALOGUE.get(provider_id), answer(status, body)) == (kind, code)


def test_wix_answers_are_understood_in_both_spellings() -> None:
    wix = CATALOGUE.get("wix")

    for body in (
        {"access_token": "AT-new", "refresh_token": "RT-new", "expires_in": 14400},
        {"accessToken": "AT-new", "refreshToken": "RT-new", "expiresIn": 14400, "tokenType": "Bearer"},
    ):
        found = judged(wix, answer(200, body))
        assert isinstance(found, Answer)
        assert plain(found) == {
            "access_token": "AT-new",
            **NOTHING_ELSE,
            "refresh_token": "RT-new",
            "expires_in": timedelta(hours=4),
        }


@pytest.mark.parametrize(
    ("rules", "status", "body", "kind", "code"),
    [
        (
            [
                {
                    "on": "token",
                    "status": 400,
                    "member": "status",
                    "code": "BAD_REFRESH_TOKEN",
                    "outcome": "grant_rejected",
                }
            ],
            400,
            {"status": "BAD_REFRESH_TOKEN"},
            GrantRejected,
            "bad_refresh_token",
        ),
        (
            [
                {"on": "token", "code": "invalid_grant", "outcome": "transient"},
                {"on": "token", "code": "invalid_grant", "outcome": "refused"},
            ],
            400,
            {"error": "invalid_grant"},
            Unavailable,
            "invalid_grant",
        ),
        (
            [{"on": "token", "status": 420, "outcome": "rate_limited", "name": "calm"}],
            420,
            b"",
            RateLimited,
            "calm",
        ),
        (
            [{"on": "token", "status": 500, "outcome": "outcome_unknown"}],
            500,
            b"",
            OutcomeUnknown,
            "http_500",
        ),
        (
            [
                {
                    "on": "token",
                    "member": "errors.0.id",
                    "code": 7,
                    "outcome": "client_misconfigured",
                    "name": "seven",
                }
            ],
            200,
            {"errors": [{"id": 7}]},
            ClientMisconfigured,
            "seven",
        ),
        (
            [{"on": "token", "member": "errors.1.id", "code": 7, "outcome": "client_misconfigured"}],
            400,
            {"errors": [{"id": 7}]},
            Refused,
            "http_400",
        ),
        ([{"on": "check", "status": 400, "outcome": "transient"}], 400, b"", Refused, "http_400"),
        (
            [{"on": "token", "member": "ok", "code": "True", "outcome": "transient"}],
            400,
            {"ok": True},
            Refused,
            "http_400",
        ),
    ],
)
def test_a_providers_own_rules_come_first_and_the_first_that_matches_wins(
    rules: list[dict[str, Any]], status: int, body: Any, kind: type[ProviderError], code: str
) -> None:
    assert verdict(acme(judgements=rules), answer(status, body)) == (kind, code)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry_after": "7"}, timedelta(seconds=7)),
        ({"retry_after": " 0 "}, timedelta(0)),
        ({"retry_after": "999999999"}, timedelta(hours=24)),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "2.0"}, timedelta(seconds=2)),
        ({"retry_after": "1.5"}, timedelta(seconds=2)),
        ({"retry_after": "soon"}, None),
        (
            {"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            timedelta(seconds=30),
        ),
        (
            {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:30 GMT"},
            timedelta(0),
        ),
        (
            {"retry_after": "Wed, 21 Oct 2065 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            timedelta(hours=24),
        ),
        (
            {"retry_after": "2015-10-21T07:28:30Z", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            timedelta(seconds=30),
        ),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "today"}, None),
        ({"retry_after": "Wed, 99 Oct 99999 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_both_forms_and_bounded(
    headers: dict[str, str], expected: timedelta | None, status: int
) -> None:
    found = judged(LAST_RESORT, answer(status, b"", **headers))

    assert isinstance(found, ProviderError)
    assert found.retry_after == expected
