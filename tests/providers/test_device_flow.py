"""The device flow (RFC 8628): a code for the user, and polls that end with tokens or with a no."""

from __future__ import annotations

from datetime import timedelta
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
    RateLimited,
    Refused,
    Unavailable,
)
from providers.client import ProviderClient
from providers.connecting import Connected
from providers.device import (
    DeviceAuthorization,
    Pending,
    judge_device_authorization,
    judge_device_poll,
    prepare_device_authorization,
    prepare_device_poll,
)
from providers.http import Wire
from providers.requests import PreparedCall
from tests.providers.loopback import answering, http, serving, tokens
from tests.providers.making import APP, acme, answer

DEVICE = {"device_url": "https://acme.example/device"}
DEADLINE = timedelta(seconds=20)
DEVICE_CODE = SecretStr("device-zq-0123456789")
SAID = {
    "device_code": "device-zq-0123456789",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://acme.example/device",
    "expires_in": 900,
    "interval": 7,
}


def form(call: PreparedCall) -> dict[str, str]:
    return dict(parse_qsl((call.request.content or b"").decode(), strict_parsing=True))


def test_a_device_is_authorized_and_polled_as_the_rfc_has_it() -> None:
    definition = acme(**DEVICE, scope_separator=",", token_params={"audience": "a"})

    asked = prepare_device_authorization(definition, APP, scopes=["read", "write"])
    poll = prepare_device_poll(definition, APP, device_code=DEVICE_CODE)

    client = {"client_id": "client-1", "client_secret": "app-secret-1"}
    assert str(asked.request.url) == "https://acme.example/device"
    assert form(asked) == {"scope": "read,write", **client}
    assert str(poll.request.url) == "https://acme.example/token"
    assert form(poll) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "device-zq-0123456789",
        "audience": "a",
        **client,
    }
    assert "zq" not in repr(poll)
    assert form(prepare_device_authorization(acme(**DEVICE, client_auth="none"), APP, scopes=[])) == {
        "client_id": "client-1"
    }


def test_a_provider_without_a_device_flow_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no device flow"):
        prepare_device_authorization(acme(), APP, scopes=[])
    with pytest.raises(ConfigurationError, match="no device flow"):
        prepare_device_poll(acme(), APP, device_code=DEVICE_CODE)
    with pytest.raises(ClientMisconfigured):
        prepare_device_poll(acme(**DEVICE), None, device_code=DEVICE_CODE)


def shown(**said: Any) -> DeviceAuthorization:
    body = {key: value for key, value in {**SAID, **said}.items() if value is not None}
    return judge_device_authorization(acme(**DEVICE), answer(200, body))


def test_what_the_user_is_shown_is_read() -> None:
    """Google's older names too; the RFC's defaults where nothing is said; no secret in what is printed."""
    complete = "https://acme.example/device?code=WDJB-MJHT"

    assert shown(verification_uri_complete=complete) == DeviceAuthorization(
        DEVICE_CODE, "WDJB-MJHT", "https://acme.example/device", complete,
        timedelta(minutes=15), timedelta(seconds=7),
    )  # fmt: skip
    assert shown(verification_uri=None, verification_url="https://acme.example/d").verification_uri == (
        "https://acme.example/d"
    )
    assert shown(interval=None).interval == timedelta(seconds=5)
    assert shown(interval=10**6, expires_in=10**6).interval == timedelta(minutes=1)
    assert shown(interval=10**6, expires_in=10**6).expires_in == timedelta(hours=1)
    assert shown(verification_uri_complete="javascript:alert(1)").verification_uri_complete is None
    assert "zq" not in repr(shown())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"device_code": None}, "answer_device_code_invalid"),
        ({"device_code": ""}, "answer_device_code_invalid"),
        ({"device_code": 5}, "answer_device_code_invalid"),
        ({"user_code": "a\u0007"}, "answer_user_code_invalid"),
        ({"user_code": "x" * 65}, "answer_user_code_invalid"),
        ({"verification_uri": "javascript:alert(1)"}, "answer_verification_uri_invalid"),
        ({"verification_uri": "http://acme.example/"}, "answer_verification_uri_invalid"),
        ({"verification_uri": "https://acme.example@evil.example/"}, "answer_verification_uri_invalid"),
        ({"verification_uri": None}, "answer_verification_uri_invalid"),
    ],
)
def test_an_answer_that_lacks_what_the_user_needs_is_malformed(said: dict[str, Any], code: str) -> None:
    with pytest.raises(Malformed) as caught:
        shown(**said)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "said", "kind", "code"),
    [
        (400, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        (404, b"", ClientMisconfigured, "endpoint_gone"),
        (429, b"", RateLimited, "rate_limited"),
        (500, b"", Unavailable, "http_500"),
        (200, b"<html>", Malformed, "answer_not_json"),
        (400, {"error": "invalid_scope"}, Refused, "invalid_scope"),
        (418, {"odd": 1}, Refused, "teapot"),
    ],
)
def test_a_refused_authorization_costs_nothing(
    status: int, said: Any, kind: type[ProviderError], code: str
) -> None:
    """Rules of its own endpoint come first, then those of tokens, then the RFC's codes and the status."""
    rules = [{"on": "device", "status": 418, "outcome": "refused", "name": "teapot"}]
    with pytest.raises(ProviderError) as caught:
        judge_device_authorization(acme(**DEVICE, judgements=rules), answer(status, said))
    assert (type(caught.value), caught.value.code) == (kind, code)


@pytest.mark.parametrize("status", [200, 400, 403, 428])
def test_a_poll_waits_until_the_user_has_decided(status: int) -> None:
    """GitHub says it with 200, Google with 428: the word counts."""
    definition = acme(**DEVICE)

    assert judge_device_poll(definition, APP, answer(status, {"error": "authorization_pending"})) == Pending()
    assert judge_device_poll(definition, APP, answer(status, {"error": "slow_down"})) == Pending(slower=True)


@pytest.mark.parametrize(
    ("status", "said", "kind", "code"),
    [
        (400, {"error": "access_denied"}, GrantRejected, "access_denied"),
        (403, {"error": "access_denied"}, GrantRejected, "access_denied"),
        (400, {"error": "expired_token"}, GrantRejected, "expired_token"),
        (400, {"error": "invalid_grant"}, GrantRejected, "invalid_grant"),
        (401, {"error": "invalid_client"}, ClientMisconfigured, "invalid_client"),
        (429, b"", RateLimited, "rate_limited"),
        (503, b"", Unavailable, "unavailable"),
        (500, b"", OutcomeUnknown, "http_500"),
        (200, {}, Malformed, "answer_access_token_invalid"),
        (400, {"error": "odd"}, Refused, "odd"),
    ],
)
def test_a_poll_that_ends_says_why(status: int, said: Any, kind: type[ProviderError], code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        judge_device_poll(acme(**DEVICE), APP, answer(status, said))
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_a_device_is_connected_over_the_wire() -> None:
    wire = Wire()
    client = ProviderClient(wire)
    with serving(answering(http("200 OK", tokens(**SAID, refresh_token="RT-1")))) as server:
        definition = acme(token_url=server.url(), device_url=server.url("/device"))
        asked = client.authorize_device(
            prepare_device_authorization(definition, APP, scopes=["read"]), deadline=DEADLINE
        )
        poll = prepare_device_poll(definition, APP, device_code=asked.device_code)
        found = client.poll_device(poll, APP, deadline=DEADLINE)
    wire.close()

    assert isinstance(found, Connected)
    assert found.answer.refresh_token == SecretStr("RT-1")
    assert [request.split(b" ", 2)[1] for request in server.requests] == [b"/device", b"/token"]
