"""A name that leads inside is not connected to, unless it is allowed by name; what was judged is used."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import ADDRESS_INSIDE, ClientMisconfigured, NotSent, ProviderError
from domain.policy import HoldReason, hold_reason
from providers.client import ProviderClient
from providers.connections import Destination
from providers.http import Wire, WireRequest
from tests.providers.loopback import answering, http, serving, tokens
from tests.providers.making import APP, CREDENTIALS, acme

DEADLINE = timedelta(seconds=20)
GOOD = http("200 OK", tokens())
LookUp = Callable[..., list[Any]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A name server: name -> its answers, one after the other, the last one for ever."""
    answers: dict[str, list[list[str]]] = {}
    look_up: LookUp = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host not in answers or options.get("flags"):
            return look_up(host, port, *rest, **options)
        found = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


def ask(wire: Wire, url: str, *, fixed: bool = True) -> ProviderError | int:
    destination = Destination.of(url, fixed=fixed)
    try:
        return wire.exchange(
            WireRequest("POST", destination, {}, b"refresh_token=RT-1"), deadline=DEADLINE
        ).status
    except ProviderError as error:
        return error


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.100.100.200", "0.0.0.0", "::1", "::ffff:127.0.0.1",
     "fd00:ec2::254", "fe80::1", "224.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize(("fixed", "kind"), [(True, ClientMisconfigured), (False, NotSent)])
def test_a_name_that_leads_inside_is_not_connected_to(
    wire: Wire, names: dict[str, list[list[str]]], address: str, fixed: bool, kind: type[ProviderError]
) -> None:
    """Nothing is sent; where the definition wrote the host everybody is held, else one connection waits."""
    names["acme.example"] = [[address]]
    with serving(answering(GOOD)) as server:
        found = ask(wire, f"http://acme.example:{server.port}/", fixed=fixed)

    assert isinstance(found, kind)
    assert found.code == ADDRESS_INSIDE
    assert hold_reason(found) in (HoldReason.CLIENT_MISCONFIGURED, HoldReason.UNREACHABLE)
    assert server.connections == 0


@pytest.mark.parametrize("host", ["10.1.2.3", "[::1]", "127.0.0.1", "2130706433", "127.1", "0x7f.0.0.1"])
def test_an_address_in_a_url_is_judged_like_a_name(wire: Wire, host: str) -> None:
    """A value that became an address, in whatever spelling the system takes for one."""
    with serving(answering(GOOD)) as server:
        found = ask(wire, f"http://{host}:{server.port}/", fixed=False)

    assert isinstance(found, NotSent)
    assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_host_that_a_definition_writes_is_called(wire: Wire, host: str) -> None:
    with serving(answering(GOOD)) as server:
        assert ask(wire, server.url(host=host)) == 200
        refused = ask(wire, server.url(host=host), fixed=False)

    assert isinstance(refused, NotSent), "the connection that is open already is not a way around"


@pytest.mark.parametrize("allowed", ["acme.example", "ACME.example.", "other.example"])
def test_a_host_is_allowed_by_its_exact_name(names: dict[str, list[list[str]]], allowed: str) -> None:
    names["acme.example"] = names["sub.acme.example"] = [["127.0.0.1"]]
    wire = Wire(internal_hosts=[allowed])
    with serving(answering(GOOD)) as server:
        found = [ask(wire, f"http://{host}:{server.port}/", fixed=False)
                 for host in ("acme.example", "Acme.Example", "sub.acme.example")]  # fmt: skip
    wire.close()

    good = [200, 200] if allowed != "other.example" else [NotSent, NotSent]
    assert [one if isinstance(one, int) else type(one) for one in found] == [*good, NotSent]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses beyond this machine that were connected to; nobody answers there."""
    found: list[str] = []

    class Recording(socket.socket):
        def connect(self, address: Any) -> None:
            if address[0] == "127.0.0.1":
                super().connect(address)
                return
            found.append(address[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "socket", Recording)
    return found


def test_what_leads_outside_beside_it_is_still_tried(
    wire: Wire, names: dict[str, list[list[str]]], dialled: list[str]
) -> None:
    """The address that leads inside is passed over; the other one is connected to, and no other."""
    names["acme.example"] = [["127.0.0.1", "192.0.1.7", "::1"]]
    with serving(answering(GOOD)) as server:
        found = ask(wire, f"http://acme.example:{server.port}/")

    assert isinstance(found, NotSent)
    assert found.code == "connect_failed"
    assert dialled == ["192.0.1.7"]
    assert server.connections == 0


def test_the_address_that_was_judged_is_the_one_that_is_used(
    wire: Wire, names: dict[str, list[list[str]]], dialled: list[str]
) -> None:
    """A name server that would answer otherwise the second time is not asked a second time."""
    names["acme.example"] = [["192.0.1.7"], ["127.0.0.1"]]
    with serving(answering(GOOD)) as server:
        found = ask(wire, f"http://acme.example:{server.port}/")

    assert isinstance(found, NotSent)
    assert (dialled, server.connections) == (["192.0.1.7"], 0)
    assert names["acme.example"] == [["127.0.0.1"]], "one look-up, one answer"


def test_every_kind_of_call_is_guarded(wire: Wire, names: dict[str, list[list[str]]]) -> None:
    """Refresh, check, account and revocation, by the definition's own URLs."""
    names["evil.acme.example"] = [["127.0.0.1"]]
    shop = {"pattern": "[a-z]+", "help": "the shop", "example": "evil"}
    client = ProviderClient(wire)
    with serving(answering(GOOD)) as server:
        base = f"https://{{shop}}.acme.example:{server.port}"
        definition = acme(
            token_url=f"{base}/token",
            revoke_url=f"{base}/revoke",
            check={"url": f"{base}/me"},
            account={"from": "request", "url": f"{base}/me", "id": "id"},
            variables={"shop": shop},
        )
        token, metadata = CREDENTIALS.access_token, {"shop": "evil"}
        calls: list[Callable[[], object]] = [
            lambda: client.refresh(definition, APP, CREDENTIALS, metadata, deadline=DEADLINE),
            lambda: client.check(definition, APP, token, metadata, deadline=DEADLINE),
            lambda: client.account(definition, APP, token, metadata, deadline=DEADLINE),
            lambda: client.revoke(
                definition, APP, token, definition.revoked_token, metadata, deadline=DEADLINE
            ),
        ]
        for call in calls:
            with pytest.raises(NotSent, match=ADDRESS_INSIDE):
                call()

    assert server.connections == 0
