"""Which connection a call takes, and what becomes of it afterwards."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import NotSent, OutcomeUnknown
from providers import connections
from providers.connections import Destination
from providers.http import Wire, WireRequest
from tests.providers.loopback import Handler, Loopback, answering, http, serving, tokens
from tests.support.waiting import eventually

DEADLINE = timedelta(seconds=20)
GOOD = http("200 OK", tokens())


def post(url: str, **changes: Any) -> WireRequest:
    return WireRequest("POST", Destination.of(url), {}, b"refresh_token=RT-1", **changes)


def call(wire: Wire, server: Loopback, path: str = "/token", **changes: Any) -> None:
    assert wire.exchange(post(server.url(path), **changes), deadline=DEADLINE).status == 200


def idle(wire: Wire) -> int:
    return len(wire._connections._idle)


class Meeting:
    """A handler that answers so many first requests together, and counts each connection's requests."""

    def __init__(self, parties: int) -> None:
        self._together = threading.Barrier(parties)
        self._rest = parties
        self.counts: list[int] = []
        self.ended = threading.Semaphore(0)

    def __call__(self, server: Loopback, sock: socket.socket) -> None:
        place = len(self.counts)
        self.counts.append(0)
        while server.read_request(sock) is not None:
            self.counts[place] += 1
            if self.counts[place] == 1 and place < self._rest:
                self._together.wait(20)
            sock.sendall(GOOD)
        self.ended.release()


def together(wire: Wire, server: Loopback, calls: int) -> None:
    with ThreadPoolExecutor(calls) as pool:
        list(pool.map(lambda _: call(wire, server), range(calls)))


def test_the_connection_that_was_used_last_is_used_next(wire: Wire) -> None:
    """So that the others grow old, and a provider that is called rarely finds one that is young."""
    meeting = Meeting(3)
    with serving(meeting) as server:
        together(wire, server, 3)
        for _ in range(4):
            call(wire, server)

    assert sorted(meeting.counts) == [1, 1, 5]


def test_the_paths_of_one_place_share_connections(wire: Wire) -> None:
    with serving(answering(GOOD)) as server:
        for path in ("/token", "/revoke", "/token?v=2"):
            call(wire, server, path)

    assert server.connections == 1


def test_fresh_and_ordinary_calls_of_one_place_share_no_connection(wire: Wire) -> None:
    """One that may idle for long is never lent to a provider whose lost answers are lost for good."""
    carried: list[list[bool]] = []

    def handle(server: Loopback, sock: socket.socket) -> None:
        carried.append([])
        mine = carried[-1]
        while (request := server.read_request(sock)) is not None:
            mine.append(b" /fresh " in request)
            sock.sendall(GOOD)

    with serving(handle) as server:
        for fresh in (False, True, False, True):
            call(wire, server, "/fresh" if fresh else "/ordinary", fresh=fresh)

    assert sorted(carried) == [[False, False], [True, True]]


def test_two_places_share_no_connection(wire: Wire) -> None:
    with serving(answering(GOOD)) as one, serving(answering(GOOD)) as other:
        for server in (one, other, one, other):
            call(wire, server)

        assert (one.connections, other.connections) == (1, 1)
        assert (len(one.requests), len(other.requests)) == (2, 2)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_server_that_closes_after_each_answer_is_connected_to_anew(wire: Wire, version: str) -> None:
    """It says so beforehand: nothing is kept, and nothing is sent on what is about to be closed."""
    answer = http("200 OK", tokens(), "Connection: close").replace(b"HTTP/1.1", f"HTTP/{version}".encode())

    def once(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(answer)
        server.released.wait(60)  # It closes later than the next call is made.

    with serving(once) as server:
        for _ in range(3):
            call(wire, server, fresh=True)
            assert idle(wire) == 0

        assert (server.connections, len(server.requests)) == (3, 3)


def test_a_connection_that_the_server_has_half_closed_is_not_used_towards_a_rotating_provider(
    wire: Wire,
) -> None:
    """The server still reads: a request sent there would arrive, and its answer would not."""
    half_closed = threading.Semaphore(0)

    def answers_and_says_goodbye(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(GOOD)
        sock.shutdown(socket.SHUT_WR)
        half_closed.release()
        server.read_request(sock)

    with serving(answers_and_says_goodbye) as server:
        for _ in range(3):
            call(wire, server, fresh=True)
            assert half_closed.acquire(timeout=20)

        assert (server.connections, len(server.requests)) == (3, 3)


def test_a_connection_that_could_not_be_opened_is_not_kept(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent):
        wire.exchange(post(f"http://127.0.0.1:{port}/"), deadline=DEADLINE)

    assert idle(wire) == 0


def too_large(server: Loopback, sock: socket.socket) -> None:
    server.read_request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000)
    server.released.wait(60)


def nonsense(server: Loopback, sock: socket.socket) -> None:
    server.read_request(sock)
    sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    server.released.wait(60)


@pytest.mark.parametrize("handler", [too_large, nonsense])
def test_a_connection_whose_answer_was_not_read_to_its_end_is_closed(wire: Wire, handler: Handler) -> None:
    """What is left of it would be taken for the next call's answer."""
    with serving(handler) as server:
        for _ in range(2):
            with suppress(OutcomeUnknown):
                assert wire.exchange(post(server.url()), deadline=DEADLINE).oversized
            assert idle(wire) == 0

        assert server.connections == 2


def test_no_more_idle_connections_are_kept_than_the_bound(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_IDLE_CONNECTIONS", 2)
    meeting = Meeting(5)
    with serving(meeting) as server:
        together(wire, server, 5)

        assert idle(wire) == 2
        for _ in range(3):
            assert meeting.ended.acquire(timeout=20)


def test_what_another_provider_has_closed_is_let_go_without_a_call_to_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the sockets of a provider that nobody calls any more would stay half open for ever."""
    monkeypatch.setattr(connections, "TIDY_EVERY", 0.0)
    wire._connections._tidy_at = 0.0

    def once(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(GOOD)

    with serving(answering(GOOD)) as living, serving(once) as closing:
        call(wire, closing)
        call(wire, living)

        def alone() -> bool:
            call(wire, living)
            return [key[0] for key, _ in wire._connections._idle] == [living.url("")]

        eventually(alone)


def test_a_call_that_ends_after_the_wire_was_closed_leaves_no_connection() -> None:
    wire = Wire()
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        asked.set()
        go_on.wait(20)
        sock.sendall(GOOD)
        assert server.read_request(sock) is None
        ended.set()

    with serving(slow) as server, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(call, wire, server)
        assert asked.wait(20)
        wire.close()
        go_on.set()
        under_way.result()

        assert ended.wait(20)
    assert idle(wire) == 0


def test_headers_that_are_judged_are_joined_where_they_are_repeated(wire: Wire) -> None:
    response = http("401 No", b"{}", "WWW-Authenticate: Basic", "www-authenticate: Bearer")
    with serving(answering(response)) as server:
        answer = wire.exchange(post(server.url()), deadline=DEADLINE)

    assert answer.headers == {"www-authenticate": "Basic, Bearer"}


def test_a_request_without_a_body_says_so_where_one_is_expected(wire: Wire) -> None:
    """RFC 9110 §8.6: some servers answer 411 else."""
    with serving(answering(GOOD)) as server:
        for method in ("GET", "POST"):
            wire.exchange(WireRequest(method, Destination.of(server.url())), deadline=DEADLINE)

    assert [b"content-length: 0" in request.lower() for request in server.requests] == [False, True]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://acme.example/token", b"acme.example"),
        ("https://acme.example:443/token", b"acme.example"),
        ("https://acme.example:8443/token", b"acme.example:8443"),
        ("http://[::1]:8080/token", b"[::1]:8080"),
    ],
)
def test_the_host_header_names_what_the_url_names(url: str, host: bytes) -> None:
    assert Destination.of(url).host == host
    assert str(Destination.of(url)) == url
