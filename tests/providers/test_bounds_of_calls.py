"""Every kind of call is bounded alike: no redirect is followed, no answer is endless, no time runs on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, NotSent, OutcomeUnknown, ProviderError
from domain.token import TokenKind
from providers.client import ProviderClient
from providers.connecting import prepare_code_exchange
from providers.definition import ProviderDefinition
from providers.device import prepare_device_authorization, prepare_device_poll
from providers.http import Wire
from tests.providers.loopback import Loopback, answering, http, serving, tokens
from tests.providers.making import APP, CREDENTIALS, acme
from tests.providers.test_wire import says, says_and_hangs

DEADLINE, SHORT = timedelta(seconds=20), timedelta(seconds=0.5)
#: How much longer than its deadline a call may take on a busy machine, and still be bounded by it.
SLACK = 5.0
SECRET = SecretStr("zq-0123456789")
Call = Callable[[ProviderClient, ProviderDefinition, timedelta], object]


def refresh(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    return client.refresh(it, APP, CREDENTIALS, {}, deadline=deadline)


def check(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    return client.check(it, APP, SECRET, deadline=deadline)


def revoke(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    client.revoke(it, APP, SECRET, TokenKind.ACCESS_TOKEN, deadline=deadline)
    return None


def account(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    return client.account(it, APP, SECRET, deadline=deadline)


def exchange(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    call = prepare_code_exchange(
        it, APP, code=SECRET, redirect_uri="https://keeper.example/", code_verifier=None
    )
    return client.exchange_code(call, APP, deadline=deadline)


def authorize(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    return client.authorize_device(prepare_device_authorization(it, APP, scopes=[]), deadline=deadline)


def poll(client: ProviderClient, it: ProviderDefinition, deadline: timedelta) -> object:
    return client.poll_device(prepare_device_poll(it, APP, device_code=SECRET), APP, deadline=deadline)


EVERY_CALL = pytest.mark.parametrize("call", [refresh, check, revoke, account, exchange, authorize, poll])


@pytest.fixture
def client(wire: Wire) -> ProviderClient:
    return ProviderClient(wire)


def at(server: Loopback) -> ProviderDefinition:
    return acme(
        authorize_url=server.url(),
        token_url=server.url(),
        device_url=server.url(),
        revoke_url=server.url(),
        check={"url": server.url(), "ok": {"member": "active", "equals": True}},
        account={"from": "request", "url": server.url(), "id": "id"},
    )


@EVERY_CALL
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Moved", "308 Moved"])
def test_a_redirect_is_not_followed(client: ProviderClient, call: Call, status: str) -> None:
    with serving(answering(http("200 OK", tokens()))) as other:
        moved = answering(http(status, b"", f"Location: {other.url()}"))
        with serving(moved) as server, pytest.raises(ClientMisconfigured, match="endpoint_moved"):
            call(client, at(server), DEADLINE)
        assert other.connections == 0


@EVERY_CALL
def test_a_silent_server_is_not_waited_for(client: ProviderClient, call: Call) -> None:
    with serving(says_and_hangs(b"HTTP/1.1 200 OK\r\n")) as server:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed_out"):
            call(client, at(server), SHORT)
        assert time.monotonic() - began < SHORT.total_seconds() + SLACK


@EVERY_CALL
def test_an_endless_answer_is_not_read(client: ProviderClient, call: Call) -> None:
    """One MiB is the limit; a revocation's answer needs no body."""
    with serving(says(b"HTTP/1.1 200 OK\r\n\r\n", *([b"x" * 65536] * 40))) as server:
        definition = at(server)
        if call is revoke:
            assert call(client, definition, DEADLINE) is None
            return
        with pytest.raises(OutcomeUnknown, match="answer_too_large"):
            call(client, definition, DEADLINE)


@EVERY_CALL
def test_a_dead_endpoint_was_not_sent_to(client: ProviderClient, call: Call) -> None:
    with serving(answering(b"")) as server:
        definition = at(server)
    with pytest.raises(ProviderError) as caught:
        call(client, definition, DEADLINE)
    assert isinstance(caught.value, NotSent)
    assert "zq" not in repr(caught.value)
