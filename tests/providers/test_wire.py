"""What real sockets do to a call: what was sent, what was not, and that every call ends in time."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Malformed, NotSent, OutcomeUnknown, ProviderError
from providers.connections import Destination
from providers.http import Wire, WireAnswer, WireRequest
from providers.network import DeadlineBackend, bounded_call
from tests.providers.loopback import Handler, Loopback, answering, http, serving, tokens

DEADLINE = timedelta(seconds=20)
#: For calls that must run into it.
SHORT = timedelta(seconds=1)
#: How much longer than its deadline a call may take on a busy machine, and still be bounded by it.
SLACK = 5.0
GOOD = http("200 OK", tokens())


def post(url: str, **changes: Any) -> WireRequest:
    return WireRequest("POST", Destination.of(url), {"X-Test": "1"}, b"grant_type=refresh_token", **changes)


def failure(wire: Wire, url: str, deadline: timedelta = DEADLINE) -> tuple[type[ProviderError], str]:
    began = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        wire.exchange(post(url), deadline=deadline)
    assert time.monotonic() - began < deadline.total_seconds() + SLACK
    assert caught.value.http_status is None
    return type(caught.value), caught.value.code


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def closes_before_reading(server: Loopback, sock: socket.socket) -> None:
    sock.recv(1)
    sock.close()


def reads_then_closes(server: Loopback, sock: socket.socket) -> None:
    server.read_request(sock)


def reads_then_resets(server: Loopback, sock: socket.socket) -> None:
    server.read_request(sock)
    reset(sock)


def says(*pieces: bytes) -> Handler:
    def handle(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        for piece in pieces:
            sock.sendall(piece)

    return handle


def says_and_hangs(*pieces: bytes) -> Handler:
    def handle(server: Loopback, sock: socket.socket) -> None:
        says(*pieces)(server, sock)
        server.released.wait(60)

    return handle


def drips(text: bytes, *, every: float = 0.05) -> Handler:
    def handle(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        for byte in text:
            if server.released.wait(every):
                return
            sock.sendall(bytes([byte]))

    return handle


def test_an_answer_arrives_whole_with_the_headers_that_are_judged(wire: Wire) -> None:
    response = http("429 Slow", b"{}", "Retry-After: 7", "Date: now", "X-Other: 1", "Set-Cookie: a=b")
    with serving(answering(response)) as server:
        answer = wire.exchange(post(server.url()), deadline=DEADLINE)

    assert answer == WireAnswer(429, {"retry-after": "7", "date": "now"}, b"{}")


def test_a_request_says_who_sends_it_and_leaves_in_one_piece(wire: Wire) -> None:
    """Head and body are one write: no server sees half a request because the other half was late."""
    pieces = []

    def handle(server: Loopback, sock: socket.socket) -> None:
        pieces.append(sock.recv(65536))
        sock.sendall(GOOD)

    with serving(handle) as server:
        wire.exchange(post(server.url()), deadline=DEADLINE)

    (whole,) = pieces
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /token http/1.1"
    assert any(line.startswith(b"user-agent: evergrant") for line in lines)
    assert {b"accept: application/json", b"accept-encoding: identity", b"x-test: 1"} <= set(lines)
    assert body == b"grant_type=refresh_token"


def test_a_refused_connection_was_not_sent(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert failure(wire, f"http://127.0.0.1:{port}/") == (NotSent, "connect_failed")


def test_a_connection_nobody_accepts_was_not_sent(wire: Wire) -> None:
    """A full backlog swallows the handshake: connecting runs into the deadline."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)

        found = failure(wire, f"http://127.0.0.1:{listener.getsockname()[1]}/", SHORT)

        for filler in fillers:
            filler.close()
    assert found == (NotSent, "connect_timed_out")


def test_an_unknown_name_was_not_sent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def nowhere(host: str, *args: Any, **options: Any) -> Any:
        if host == "provider.invalid" and not options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)

    assert failure(wire, "http://provider.invalid/") == (NotSent, "dns_failed")


def test_a_name_server_that_hangs_cannot_outlast_the_deadline(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver has no deadline of its own; ten calls share one lookup of the name."""
    look_up, released, lookups = socket.getaddrinfo, threading.Event(), []

    def hangs(host: str, *args: Any, **options: Any) -> Any:
        if host != "provider.invalid" or options.get("flags"):
            return look_up(host, *args, **options)
        lookups.append(host)
        released.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "again")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(failure, wire, "http://provider.invalid/", SHORT) for _ in range(10)]
        found = {call.result() for call in calls}
    released.set()

    assert found == {(NotSent, "dns_timed_out")}
    assert len(lookups) == 1


def test_the_next_address_is_tried_where_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(internal_hosts=["provider.invalid"])
    look_up = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()[1]

    def two_addresses(host: str, *args: Any, **options: Any) -> Any:
        if host != "provider.invalid" or options.get("flags"):
            return look_up(host, *args, **options)
        return look_up("127.0.0.1", dead, **options) + look_up("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with serving(answering(GOOD)) as server:
        answer = wire.exchange(post(server.url(host="provider.invalid")), deadline=DEADLINE)
    wire.close()

    assert answer.status == 200


def test_a_deadline_that_passed_before_the_first_byte_was_not_sent(wire: Wire) -> None:
    """Even on a connection that is open already: the time is looked at before the write, not after."""
    with serving(answering(GOOD)) as server:
        wire.exchange(post(server.url()), deadline=DEADLINE)
        found = failure(wire, server.url(), timedelta(seconds=0))

    assert found == (NotSent, "deadline_before_send")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (closes_before_reading, "no_answer"),
        (reads_then_closes, "no_answer"),
        (reads_then_resets, "no_answer"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Le"), "answer_cut"),
        (says(GOOD[:-5]), "answer_cut"),
        (says(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nbusy"), "answer_cut"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n"), "answer_cut"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "answer_cut"),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n"), "answer_cut"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "answer_cut"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 40_000), "answer_cut"),
    ],
)
def test_a_request_without_a_whole_answer_is_in_doubt(wire: Wire, handler: Handler, code: str) -> None:
    with serving(handler) as server:
        assert failure(wire, server.url()) == (OutcomeUnknown, code)


@pytest.mark.parametrize(
    "handler",
    [
        says_and_hangs(),
        says_and_hangs(b"HTTP/1.1 200 OK\r\n"),
        says_and_hangs(GOOD[:-1]),
        drips(GOOD[:20] + b"X-Filler: " + b"a" * 2000),
        drips(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        says_and_hangs(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
def test_a_server_that_hangs_or_drips_cannot_outlast_the_total_deadline(wire: Wire, handler: Handler) -> None:
    """Each single read succeeds in time; it is their sum that the deadline bounds."""
    with serving(handler) as server:
        assert failure(wire, server.url(), SHORT) == (OutcomeUnknown, "timed_out")


def test_a_body_that_drips_cannot_outlast_the_total_deadline(wire: Wire) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")(server, sock)
        while not server.released.wait(0.05):
            sock.sendall(b"a")

    with serving(handle) as server:
        assert failure(wire, server.url(), SHORT) == (OutcomeUnknown, "timed_out")


def test_a_server_that_reads_nothing_cannot_outlast_the_total_deadline(wire: Wire) -> None:
    """The request is larger than the socket buffers, so the write itself is what hangs."""

    def handle(server: Loopback, sock: socket.socket) -> None:
        server.released.wait(60)

    with serving(handle) as server:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed_out"):
            wire.exchange(
                WireRequest("POST", Destination.of(server.url()), {}, b"a" * 30_000_000), deadline=SHORT
            )
        assert time.monotonic() - began < SHORT.total_seconds() + SLACK


def test_an_early_refusal_is_heard_although_the_write_failed(wire: Wire) -> None:
    def handle(server: Loopback, sock: socket.socket) -> None:
        sock.recv(10)
        sock.sendall(http("413 Too Large", b"{}", "Connection: close"))
        sock.close()  # with most of the request unread, which resets the connection

    with serving(handle) as server:
        answer = wire.exchange(
            WireRequest("POST", Destination.of(server.url()), {}, b"a" * 10_000_000), deadline=DEADLINE
        )

    assert answer.status == 413


def test_a_redirect_is_not_followed(wire: Wire) -> None:
    with serving(answering(GOOD)) as other:
        redirect = answering(http("307 Moved", b"", f"Location: {other.url()}"))
        with serving(redirect) as server:
            answer = wire.exchange(post(server.url()), deadline=DEADLINE)

    assert answer.status == 307
    assert other.connections == 0


def test_cookies_are_not_kept(wire: Wire) -> None:
    """A cookie would tie one user's call to another's."""
    with serving(answering(http("200 OK", b"{}", "Set-Cookie: session=1; Path=/"))) as server:
        for _ in range(2):
            wire.exchange(post(server.url()), deadline=DEADLINE)

    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1].lower()


def test_a_socket_used_outside_a_call_is_a_mistake_that_shows() -> None:
    """Without a deadline in force nothing is sent, rather than sent without a bound."""
    with bounded_call(20):
        pass

    with pytest.raises(AssertionError, match="outside bounded_call"):
        DeadlineBackend().connect_tcp("127.0.0.1", 1)


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    wire = Wire()
    with serving(answering(GOOD)) as server:
        assert wire.exchange(post(server.url()), deadline=DEADLINE).status == 200
    wire.close()


@pytest.mark.parametrize(
    "handler",
    [
        says(b"HTTP/1.1 200 OK\r\n\r\n", *([b"x" * 65536] * 40)),
        answering(http("200 OK", gzip.compress(b"x" * 20_000_000), "Content-Encoding: gzip")),
    ],
)
def test_an_answer_without_end_is_not_read_to_its_end(wire: Wire, handler: Handler) -> None:
    """One MiB is the limit, packed or not."""
    with serving(handler) as server:
        answer = wire.exchange(post(server.url()), deadline=DEADLINE)

    assert answer == WireAnswer(200, {}, b"", oversized=True)


def test_a_packed_answer_is_unpacked_although_none_was_asked_for(wire: Wire) -> None:
    """A gateway that compresses anyway must not cost a rotated token."""
    packed = http("200 OK", gzip.compress(tokens()), "Content-Encoding: gzip")
    with serving(answering(packed)) as server:
        assert wire.exchange(post(server.url()), deadline=DEADLINE).body == tokens()


def test_a_damaged_packed_answer_is_malformed(wire: Wire) -> None:
    with serving(answering(http("200 OK", b"not gzip", "Content-Encoding: gzip"))) as server:
        assert failure(wire, server.url()) == (Malformed, "answer_not_decodable")


def test_connections_are_reused(wire: Wire) -> None:
    with serving(answering(GOOD)) as server:
        for _ in range(5):
            wire.exchange(post(server.url()), deadline=DEADLINE)

    assert (server.connections, len(server.requests)) == (1, 5)


def test_a_connection_the_server_has_closed_is_noticed_before_it_is_used(wire: Wire) -> None:
    """The common keep-alive race is lost by the check, not by the request."""

    closed = threading.Semaphore(0)

    def once(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(GOOD)
        sock.close()
        closed.release()

    with serving(once) as server:
        for _ in range(20):
            assert wire.exchange(post(server.url()), deadline=DEADLINE).status == 200
            assert closed.acquire(timeout=20)

    assert server.connections == 20


def test_a_keep_alive_race_that_is_lost_is_a_doubt(wire: Wire) -> None:
    """The server closes just as the request arrives: it was sent, and nobody can say what became of it."""

    def answers_once_then_hangs_up(server: Loopback, sock: socket.socket) -> None:
        server.read_request(sock)
        sock.sendall(GOOD)
        sock.recv(1)
        reset(sock)

    with serving(answers_once_then_hangs_up) as server:
        wire.exchange(post(server.url()), deadline=DEADLINE)
        assert failure(wire, server.url()) == (OutcomeUnknown, "no_answer")


def test_a_fresh_request_does_not_use_a_connection_that_idled_for_two_seconds(wire: Wire) -> None:
    with serving(answering(GOOD)) as server:
        wire.exchange(post(server.url(), fresh=True), deadline=DEADLINE)
        wire.exchange(post(server.url(), fresh=True), deadline=DEADLINE)
        assert server.connections == 1
        time.sleep(2.1)  # the idle time is what the test is about
        wire.exchange(post(server.url(), fresh=True), deadline=DEADLINE)
        assert server.connections == 2


def test_an_ordinary_request_uses_a_connection_that_idled_for_two_seconds(wire: Wire) -> None:
    with serving(answering(GOOD)) as server:
        wire.exchange(post(server.url()), deadline=DEADLINE)
        time.sleep(2.1)  # the idle time is what the test is about
        wire.exchange(post(server.url()), deadline=DEADLINE)

        assert server.connections == 1


def test_a_failed_call_leaves_nothing_behind_for_the_next(wire: Wire) -> None:
    """Neither its deadline, nor its connection, nor a piece of its request."""
    turn = iter((says_and_hangs(GOOD[:-1]), answering(GOOD)))

    def handle(server: Loopback, sock: socket.socket) -> None:
        next(turn)(server, sock)

    with serving(handle) as server:
        assert failure(wire, server.url(), SHORT)[0] is OutcomeUnknown
        assert wire.exchange(post(server.url()), deadline=DEADLINE).status == 200
        assert server.requests[0] == server.requests[1]


def test_sixty_threads_get_each_their_own_answer_and_their_own_deadline(wire: Wire) -> None:
    """Slow calls end at their own deadlines while quick ones go on; no answer reaches the wrong thread."""

    def handle(server: Loopback, sock: socket.socket) -> None:
        while (request := server.read_request(sock)) is not None:
            body = request.partition(b"\r\n\r\n")[2]
            if body.startswith(b"slow"):
                server.released.wait(60)
                return
            sock.sendall(http("200 OK", body))

    def call(url: str, text: str, deadline: timedelta) -> bytes | str:
        request = WireRequest("POST", Destination.of(url), {}, text.encode(), fresh=text.endswith("1"))
        try:
            return wire.exchange(request, deadline=deadline).body
        except OutcomeUnknown as error:
            return error.code

    with serving(handle) as server, ThreadPoolExecutor(60) as pool:
        slow = [pool.submit(call, server.url(), f"slow-{n}", timedelta(seconds=4)) for n in range(10)]
        quick = [pool.submit(call, server.url(), f"quick-{n}", DEADLINE) for n in range(1000)]
        echoes = [call.result() for call in quick]

        assert echoes == [f"quick-{n}".encode() for n in range(1000)]
        assert {call.result() for call in slow} == {"timed_out"}


def test_a_secret_query_is_joined_to_the_target_as_it_is_sent(wire: Wire) -> None:
    with serving(answering(GOOD)) as server:
        for path in ("/info", "/info?v=1"):
            request = WireRequest("GET", Destination.of(server.url(path)), secret_query=b"token=AT%2B1")
            wire.exchange(request, deadline=DEADLINE)

    assert [request.split(b" ")[1] for request in server.requests] == [
        b"/info?token=AT%2B1",
        b"/info?v=1&token=AT%2B1",
    ]
