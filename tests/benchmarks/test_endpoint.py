"""The cheap token endpoint that measurements ask."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from benchmarks.load.endpoint import Endpoint, endpoint_process, latency_of


@contextmanager
def serving(**options: Any) -> Iterator[HTTPConnection]:
    endpoint = Endpoint(**options)
    thread = threading.Thread(target=endpoint.serve)
    thread.start()
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()
        endpoint.stop()
        thread.join()
        endpoint.close()


def ask(connection: HTTPConnection) -> tuple[int, dict[str, Any]]:
    connection.request("POST", "/token", body=b"grant_type=refresh_token")
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def ask_for(connection: HTTPConnection, header: str) -> str | None:
    connection.request("POST", "/token", body=b"")
    response = connection.getresponse()
    response.read()
    return response.getheader(header)


def test_every_answer_brings_another_pair_over_the_same_connection() -> None:
    with serving(lifetime=60) as connection:
        (status, one), (_, other) = ask(connection), ask(connection)

    assert (status, one["expires_in"], one["token_type"]) == (200, 60, "Bearer")
    assert (
        len({one["access_token"], one["refresh_token"], other["access_token"], other["refresh_token"]}) == 4
    )


def test_a_request_in_pieces_is_answered_once_it_is_whole() -> None:
    with serving() as connection, socket.create_connection(("127.0.0.1", connection.port), 20) as sock:
        for piece in (b"POST /token HTTP/1.1\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"):
            sock.sendall(piece)
            assert ask(connection)[0] == 200  # The endpoint has read the piece before.
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_statuses_are_drawn_and_counted() -> None:
    with serving(answers=[(503, "slow", 1.0)], retry_after=30) as connection:
        status, body = ask(connection)
        waited = ask_for(connection, "Retry-After")
        connection.request("GET", "/count")
        counted = json.loads(connection.getresponse().read())

    assert (status, body, waited) == (503, {"error": "slow"}, "30")
    assert counted == {"503": 2}


def test_an_answer_that_waits_for_its_time_holds_up_no_other() -> None:
    latencies = iter((3600.0, 0.0))
    with serving(latency=lambda: next(latencies)) as slow:
        slow.request("POST", "/token", body=b"")
        quick = HTTPConnection("127.0.0.1", slow.port, timeout=20)

        assert ask(quick)[0] == 200
        quick.close()


def test_a_client_that_leaves_before_its_answer_harms_nobody() -> None:
    with serving(latency=lambda: 0.05) as connection:
        with socket.create_connection(("127.0.0.1", connection.port)) as sock:
            sock.sendall(b"POST /token HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert ask(connection)[0] == 200


def test_latency_is_fixed_log_normal_or_none() -> None:
    drawn = latency_of(p50_ms=200, p99_ms=1000)
    assert drawn is not None
    middle = sorted(drawn() for _ in range(2001))[1000]
    fixed = latency_of(fixed_ms=50)
    assert fixed is not None

    assert 0.15 < middle < 0.27
    assert fixed() == 0.05
    assert latency_of() is None


def test_it_runs_as_a_process_and_ends_with_its_block() -> None:
    with endpoint_process("--answer", "429=1") as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        assert ask(connection)[0] == 429
        connection.close()
