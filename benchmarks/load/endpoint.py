"""A token endpoint that costs next to nothing, so that a benchmark measures its client.

    python -m benchmarks.load.endpoint --port N [--p50 SECONDS --p99 SECONDS] [--status 429 --retry-after 30]

Every POST is answered with new tokens over a kept-alive connection. It remembers nothing and judges nothing:
what a provider does is the simulator's business.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import signal
from itertools import count
from typing import Final

#: The 99th percentile of the standard normal distribution.
_Z99: Final = 2.3263478740408408
_PAD: Final = "t" * 200


class _Connection(asyncio.Protocol):
    numbers = count()

    def __init__(self, delay: Delay, status: int, retry_after: int) -> None:
        self._delay = delay
        self._status = status
        self._wait = f"Retry-After: {retry_after}\r\n" if retry_after else ""
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        place = head.lower().find(b"content-length:")
        length = 0 if place < 0 else int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = body[length:]
        if seconds := self._delay():
            asyncio.get_running_loop().call_later(seconds, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        number = next(self.numbers)
        if self._status == 200:
            body = (
                f'{{"access_token":"{_PAD}{number:012d}","refresh_token":"{_PAD[:90]}{number:012d}",'
                '"token_type":"Bearer","expires_in":3600}'
            ).encode()
            head = b"HTTP/1.1 200 OK\r\n"
        else:
            body = b'{"error":"temporarily_unavailable"}'
            head = f"HTTP/1.1 {self._status} Trouble\r\n{self._wait}".encode()
        self._transport.write(
            head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )


class Delay:
    """How long an answer takes, in seconds: a fixed time, or log-normal by its median and its p99."""

    def __init__(self, p50: float, p99: float | None = None) -> None:
        self._p50 = p50
        self._sigma = 0.0 if not p50 or p99 is None else math.log(p99 / p50) / _Z99

    def __call__(self) -> float:
        """Draw one."""
        return self._p50 * math.exp(self._sigma * random.gauss(0, 1)) if self._sigma else self._p50


async def _serve(port: int, delay: Delay, status: int, retry_after: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(delay, status, retry_after), "127.0.0.1", port, backlog=1024
    )
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    server.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--p50", type=float, default=0.0, help="seconds that an answer takes (0)")
    parser.add_argument("--p99", type=float, default=None, help="with --p50: log-normal")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--retry-after", type=int, default=30, help="with --status; 0: says nothing of it")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, Delay(given.p50, given.p99), given.status, given.retry_after))


if __name__ == "__main__":
    main()
