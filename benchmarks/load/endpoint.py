"""A token endpoint that costs next to nothing, so that what is measured is the one who asks.

    python -m benchmarks.load.endpoint --port 0 [--latency-ms 50 | --p50-ms 200 --p99-ms 1000]
                                       [--answer 503=0.01 --answer 400:invalid_grant=0.02]
                                       [--retry-after 30] [--lifetime 3600]

One thread on sockets, HTTP/1.1 with keep-alive. Every POST is answered with a new pair of tokens, or with the
status that was drawn; nothing of the request is judged or kept. ``GET /count`` tells how many were answered.
The port is the first line of its standard output. What a provider really checks is the simulator's affair.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_HEAD_END: Final = b"\r\n\r\n"
#: The 99th percentile of the normal distribution, in standard deviations.
_P99: Final = 2.3263478740408408
_ERRORS: Final = {400: "invalid_grant", 401: "invalid_client", 429: "slow_down"}


def latency_of(
    fixed_ms: float | None = None, p50_ms: float | None = None, p99_ms: float | None = None
) -> Callable[[], float] | None:
    """Return what draws an answer's latency in seconds; None where it answers at once.

    Args:
        fixed_ms: The same for all.
        p50_ms: Log-normal with this median, and `p99_ms` as its 99th percentile.
    """
    if p50_ms is not None and p99_ms is not None:
        mean, deviation = math.log(p50_ms / 1000), math.log(p99_ms / p50_ms) / _P99
        return lambda: random.lognormvariate(mean, deviation)
    if fixed_ms:
        return lambda: fixed_ms / 1000
    return None


class _Connection:
    """A client's socket, and what has come over it of a request that is not whole."""

    __slots__ = ("received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""

    def request(self, piece: bytes) -> bytes | None:
        """Take in a piece; return the request's first line once the request is whole, else None."""
        received = self.received + piece if self.received else piece
        head, found, body = received.partition(_HEAD_END)
        if not found or len(body) < _length(head):
            self.received = received
            return None
        self.received = b""
        return head


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r")[0]) if found else 0


class Endpoint:
    """Listens on 127.0.0.1 and answers until `stop`."""

    def __init__(
        self,
        *,
        port: int = 0,
        latency: Callable[[], float] | None = None,
        answers: Sequence[tuple[int, str, float]] = (),
        retry_after: int | None = None,
        lifetime: int = 3600,
    ) -> None:
        """Open the port.

        Args:
            port: 0 takes any free one.
            latency: As `latency_of`.
            answers: Status, OAuth error and their share of all answers; the rest brings tokens.
            retry_after: Seconds that all of these ask to be left alone; None: they do not say.
            lifetime: Of the access tokens, in seconds.
        """
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._latency = latency
        self._refusals = [
            (status, share, _refusal(status, error, retry_after)) for status, error, share in answers
        ]
        self._tokens = _token_answer(lifetime)
        self._numbers = count(random.getrandbits(48))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        #: Answers that wait for their time: (when, a number that tells equal times apart, to whom, answer).
        self._waiting: list[tuple[float, int, _Connection, bytes]] = []
        self._answered: Counter[str] = Counter()
        self._stopped = False

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Let `serve` return soon; a handler for signals."""
        self._stopped = True

    def serve(self) -> None:
        """Answer until it is stopped."""
        while not self._stopped:
            for key, _ in self._selector.select(self._pause()):
                connection = key.data
                if connection is None:
                    self._accept()
                else:
                    self._read(connection)
            self._answer_due()

    def close(self) -> None:
        """Close the port and all connections. Called once, after `serve` has returned."""
        for key in list(self._selector.get_map().values()):
            (self._listener if key.data is None else key.data.sock).close()
        self._selector.close()

    def _pause(self) -> float:
        """Return for how many seconds nothing is to be done by itself; half a second at most."""
        return max(0.0, min(0.5, self._waiting[0][0] - time.monotonic())) if self._waiting else 0.5

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _read(self, connection: _Connection) -> None:
        try:
            piece = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            return
        head = connection.request(piece)
        if head is None:
            return
        answer = self._answer(head)
        if self._latency is None:
            _send(connection, answer)
        else:
            due = time.monotonic() + self._latency()
            heapq.heappush(self._waiting, (due, next(self._numbers), connection, answer))

    def _answer_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, connection, answer = heapq.heappop(self._waiting)
            _send(connection, answer)

    def _answer(self, head: bytes) -> bytes:
        if not head.startswith(b"POST "):
            return _http(200, json.dumps(self._answered).encode())
        drawn = random.random() if self._refusals else 1.0  # noqa: S311 - a load, not a secret
        for status, share, refusal in self._refusals:
            drawn -= share
            if drawn < 0:
                self._answered[str(status)] += 1
                return refusal
        self._answered["200"] += 1
        number = next(self._numbers)
        return self._tokens % (number, number)


def _send(connection: _Connection, answer: bytes) -> None:
    # Smaller than any socket buffer, so it leaves whole; a client that went away is told by the next read.
    with suppress(OSError):
        connection.sock.send(answer)


def _http(status: int, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
    return f"{head}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _token_answer(lifetime: int) -> bytes:
    """Return an answer with two places for numbers, which are always as long as written there."""
    tokens = {
        "access_token": "at-" + "#" * 64,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "refresh_token": "rt-" + "#" * 64,
    }
    return _http(200, json.dumps(tokens).encode()).replace(b"#" * 64, b"%064x")


def _refusal(status: int, error: str, retry_after: int | None) -> bytes:
    more = "" if retry_after is None else f"Retry-After: {retry_after}\r\n"
    return _http(status, json.dumps({"error": error}).encode(), more)


@contextmanager
def endpoint_process(*arguments: str) -> Iterator[int]:
    """Run an endpoint in a process of its own while the block runs, and give its port.

    Args:
        arguments: As on the command line, the port aside.
    """
    command = [sys.executable, "-m", "benchmarks.load.endpoint", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said.strip().isdecimal():
            raise RuntimeError("the endpoint has not started; what is wrong stands above")
        yield int(said)
    finally:
        process.terminate()
        process.communicate()


def _share(text: str) -> tuple[int, str, float]:
    what, _, share = text.partition("=")
    status, _, error = what.partition(":")
    return int(status), error or _ERRORS.get(int(status), "temporarily_unavailable"), float(share)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free one (0)")
    parser.add_argument("--latency-ms", type=float, help="of every answer (none)")
    parser.add_argument("--p50-ms", type=float, help="median of a log-normal latency; with --p99-ms")
    parser.add_argument("--p99-ms", type=float, help="its 99th percentile")
    parser.add_argument("--answer", type=_share, action="append", default=[], metavar="STATUS[:ERROR]=SHARE",
                        help="answer this share with it, such as 503=0.01; may be repeated")  # fmt: skip
    parser.add_argument("--retry-after", type=int, help="seconds that refusals ask to be left alone (none)")
    parser.add_argument("--lifetime", type=int, default=3600, help="of access tokens, in seconds (3600)")
    given = parser.parse_args(arguments)
    if (given.p50_ms is None) != (given.p99_ms is None):
        parser.error("--p50-ms and --p99-ms go together")
    endpoint = Endpoint(
        port=given.port,
        latency=latency_of(given.latency_ms, given.p50_ms, given.p99_ms),
        answers=given.answer,
        retry_after=given.retry_after,
        lifetime=given.lifetime,
    )
    signal.signal(signal.SIGTERM, endpoint.stop)
    signal.signal(signal.SIGINT, endpoint.stop)
    print(endpoint.port, flush=True)
    endpoint.serve()
    endpoint.close()


if __name__ == "__main__":
    main()
