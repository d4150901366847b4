"""What a server sends beyond its answer is nobody's, and never the next call's answer: another grant's."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from providers.connections import Destination
from providers.http import Wire, WireRequest
from tests.providers.loopback import Handler, Loopback, http, serving, tokens

DEADLINE = timedelta(seconds=20)
GOOD = http("200 OK", tokens())
FORGED = http("200 OK", tokens(access_token="another-grants"))


def echoing(leftover: bytes, first: bytes | None = None) -> Handler:
    """Answers each refresh token with its own; the first answer of all has something behind it."""

    def handle(server: Loopback, sock: socket.socket) -> None:
        while (request := server.read_request(sock)) is not None:
            presented = request.rpartition(b"=")[2].decode()
            answer = http("200 OK", tokens(access_token=f"of-{presented}"))
            if len(server.requests) == 1:
                answer = (first or answer) + leftover
            sock.sendall(answer)

    return handle


def answered(wire: Wire, server: Loopback, refresh_token: str, *, fresh: bool) -> bytes:
    content = f"refresh_token={refresh_token}".encode()
    request = WireRequest("POST", Destination.of(server.url()), {}, content, fresh=fresh)
    return wire.exchange(request, deadline=DEADLINE).body


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "leftover",
    [
        FORGED,
        FORGED * 2,
        FORGED[:-5],
        FORGED[:20],
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"\r\n",
        b"\0",
    ],
)
def test_one_grant_is_never_answered_with_what_followed_anothers_answer(
    wire: Wire, leftover: bytes, fresh: bool
) -> None:
    """A proxy that answers twice, or has lost count: the second refresh token gets its own answer."""
    with serving(echoing(leftover)) as server:
        bodies = [answered(wire, server, name, fresh=fresh) for name in ("RT-1", "RT-2", "RT-3")]

        assert bodies == [tokens(access_token=f"of-RT-{number}") for number in (1, 2, 3)]
        assert [request[-4:] for request in server.requests] == [b"RT-1", b"RT-2", b"RT-3"]
        # The first is given up with what it brought; the second is kept.
        assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + GOOD,
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_leftovers_are_seen_however_the_answer_ends(wire: Wire, first: bytes) -> None:
    with serving(echoing(FORGED, first)) as server:
        answered(wire, server, "RT-1", fresh=True)

        assert answered(wire, server, "RT-2", fresh=True) == tokens(access_token="of-RT-2")
        assert server.connections == 2


def test_a_connection_without_leftovers_is_kept(wire: Wire) -> None:
    """Whether there are any only the library's inside tells: where it stops telling, none would be kept."""
    with serving(echoing(b"")) as server:
        for number in range(3):
            answered(wire, server, f"RT-{number}", fresh=True)

        assert server.connections == 1
