"""The client end to end: a definition, a real server, tokens or an error that says what to do next."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from domain.errors import ConfigurationError, GrantRejected, NotSent, OutcomeUnknown, ProviderError, Refused
from domain.token import Credentials
from providers.app_credentials import AppCredentials
from providers.client import ProviderClient
from providers.http import Wire
from providers.judgement import CheckResult
from tests.providers.loopback import Handler, answering, http, serving, tokens
from tests.providers.making import APP, CREDENTIALS, acme
from tests.providers.test_wire import says

DEADLINE = timedelta(seconds=20)
#: Every secret that a call may meet, each unlike any other text.
SECRET_APP = AppCredentials("client-1", SecretStr("zq-app-secret-zq"))
SECRET_CREDENTIALS = Credentials(SecretStr("zq-old-access-zq"), SecretStr("zq-old-refresh-zq"))
NEW = {"access_token": "zq-new-access-zq", "refresh_token": "zq-new-refresh-zq"}


@pytest.fixture(scope="module")
def client() -> Iterator[ProviderClient]:
    wire = Wire()
    yield ProviderClient(wire)
    wire.close()


def test_a_refresh_presents_the_token_once_and_returns_the_new_pair(client: ProviderClient) -> None:
    with serving(answering(http("200 OK", tokens(refresh_token="RT-2", scope="a b")))) as server:
        prepared = client.prepare(acme(token_url=server.url()), APP, CREDENTIALS, {})
        assert server.connections == 0

        answer = client.present(prepared, deadline=DEADLINE)

    (request,) = server.requests
    assert dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))["refresh_token"] == "RT-0123456789"
    assert answer.refresh_token == SecretStr("RT-2")
    assert answer.access_token == SecretStr("new-AT-98765")
    assert (answer.expires_in, answer.scope) == (timedelta(hours=1), ("a", "b"))


def test_a_deadline_that_is_over_before_the_send_sends_nothing(client: ProviderClient) -> None:
    """A process that was frozen after its look at the lease wakes up too late: no byte leaves."""
    with serving(answering(http("200 OK", tokens()))) as server:
        prepared = client.prepare(acme(token_url=server.url()), APP, CREDENTIALS, {})
        looked_at = time.monotonic() - DEADLINE.total_seconds() - 1

        with pytest.raises(NotSent):
            client.present(prepared, deadline=DEADLINE, began=looked_at)

    assert server.requests == []


def test_an_answer_without_a_refresh_token_keeps_the_old_one(client: ProviderClient) -> None:
    """RFC 6749 §6: what is omitted has not changed."""
    with serving(answering(http("200 OK", tokens()))) as server:
        answer = client.refresh(acme(token_url=server.url()), APP, CREDENTIALS, {}, deadline=DEADLINE)

    assert answer.refresh_token is None


def test_a_check_asks_with_the_token_and_says_healthy(client: ProviderClient) -> None:
    with serving(answering(http("200 OK", b"{}"))) as server:
        definition = acme(check={"url": server.url("/me")})
        result = client.check(definition, None, CREDENTIALS.access_token, deadline=DEADLINE)

    assert result == CheckResult()
    assert b"\r\nauthorization: bearer at-0123456789\r\n" in server.requests[0].lower()


def test_a_rejected_check_is_told_apart_from_everything_else(client: ProviderClient) -> None:
    with serving(answering(http("401 Unauthorized", b"{}"))) as server:
        definition = acme(check={"url": server.url("/me")})
        with pytest.raises(GrantRejected, match="token_rejected"):
            client.check(definition, None, CREDENTIALS.access_token, deadline=DEADLINE)


def echoing_errors() -> list[dict[str, Any]]:
    secrets = [*NEW.values(), "zq-old-refresh-zq", "zq-app-secret-zq", "zq-old-access-zq"]
    found: list[dict[str, Any]] = []
    for secret in secrets:
        found += [
            {"error": secret, "error_description": secret},
            {"error": f"unknown token {secret}"},
            {"error": f"invalid_grant_{secret}"},
            {"error": {"message": secret}},
            {"error": "invalid_grant", "error_description": secret, "error_uri": secret},
            {"message": secret},
        ]
    # Pieces of what was sent, and capitals, are echoes too.
    return [*found, {"error": "old-refresh"}, {"error": "ZQ-OLD-REFRESH-ZQ"}, {"error": "zq-old-r"}]


CUT = json.dumps(NEW).encode()


@pytest.mark.parametrize(
    "handler",
    [
        *(answering(http("400 Bad Request", json.dumps(body).encode())) for body in echoing_errors()),
        *(answering(http("200 OK", json.dumps(body).encode())) for body in echoing_errors()),
        answering(http("200 OK", json.dumps({**NEW, "access_token": "zq-new\n-access-zq"}).encode())),
        answering(http("200 OK", json.dumps({**NEW, "refresh_token": {"zq": "zq-new-refresh-zq"}}).encode())),
        answering(http("200 OK", b"{'access_token': 'zq-new-access-zq'")),
        answering(http("302 Found", b"", "Location: https://a.example/?refresh_token=zq-old-refresh-zq")),
        answering(http("429 Slow", CUT, "Retry-After: zq-old-refresh-zq")),
        says(http("200 OK", CUT)[:-4]),
        # The HTTP library quotes what it cannot parse.
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CUT + b"\r\n"),
        says(b"HTTP/1.1 200 OK\r\n\x00" + CUT + b"\r\n\r\n"),
        says(CUT + b"\r\n\r\n"),
        answering(http("200 OK", CUT, "Content-Encoding: gzip")),
    ],
)
def test_no_secret_is_in_an_error_its_chain_or_a_log(
    client: ProviderClient, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a provider echoes, and however it breaks off, with every logger at its most talkative."""
    caplog.set_level(logging.DEBUG)
    with serving(handler) as server:
        prepared = client.prepare(acme(token_url=server.url()), SECRET_APP, SECRET_CREDENTIALS, {})
        with pytest.raises(ProviderError) as caught:
            client.present(prepared, deadline=DEADLINE)

    links: list[BaseException] = []
    link: BaseException | None = caught.value
    while link is not None:
        links.append(link)
        link = link.__cause__ or link.__context__
    told = [
        *(f"{error!r} {error} {error.args} {vars(error)}" for error in links),
        "".join(traceback.format_exception(caught.value)),
        caplog.text,
        repr(prepared),
        repr(prepared.request),
        str(prepared),
    ]
    assert b"zq-old-refresh-zq" in server.requests[0]
    assert "zq" not in " ".join(told).lower().replace(str(server.port), "")


@pytest.mark.parametrize("body", echoing_errors())
def test_an_echo_changes_the_code_and_not_the_verdict(client: ProviderClient, body: dict[str, Any]) -> None:
    with (
        serving(answering(http("400 Bad Request", json.dumps(body).encode()))) as server,
        pytest.raises(ProviderError) as caught,
    ):
        client.refresh(acme(token_url=server.url()), SECRET_APP, SECRET_CREDENTIALS, {}, deadline=DEADLINE)

    expected = (
        (GrantRejected, "invalid_grant") if body.get("error") == "invalid_grant" else (Refused, "http_400")
    )
    assert (type(caught.value), caught.value.code) == expected


def test_a_token_in_a_query_is_in_no_log(client: ProviderClient, caplog: pytest.LogCaptureFixture) -> None:
    """WordPress.com takes the token in the query and nowhere else; our logs must not have it from there."""
    caplog.set_level(logging.DEBUG)
    with serving(answering(http("400 Bad Request", b'{"error": "invalid_request"}'))) as server:
        check = {"url": server.url("/info"), "bearer": False, "query": {"token": "{access_token}"}}
        with pytest.raises(Refused) as caught:
            client.check(acme(check=check), None, SECRET_CREDENTIALS.access_token, deadline=DEADLINE)

    assert b"GET /info?token=zq-old-access-zq " in server.requests[0]
    assert "zq" not in caplog.text + "".join(traceback.format_exception(caught.value))


def test_a_stored_token_that_cannot_be_sent_is_refused_before_anything_is_sent(
    client: ProviderClient,
) -> None:
    with serving(answering(http("200 OK", tokens()))) as server:
        damaged = Credentials(SecretStr("AT"), SecretStr("RT\r\nHost: evil"))
        with pytest.raises(ConfigurationError):
            client.refresh(acme(token_url=server.url()), APP, damaged, {}, deadline=DEADLINE)

    assert server.connections == 0


def test_a_doubt_names_no_status(client: ProviderClient) -> None:
    with serving(says()) as server, pytest.raises(OutcomeUnknown) as caught:
        client.refresh(acme(token_url=server.url()), APP, CREDENTIALS, {}, deadline=DEADLINE)

    assert (caught.value.code, caught.value.http_status) == ("no_answer", None)
