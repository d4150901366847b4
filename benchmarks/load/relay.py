"""A TCP relay that makes a server as far away as on another machine: answers come later by a round trip.

    python -m benchmarks.load.relay --delay SECONDS --map PORT:SERVER_PORT [--map …]

It stands in for a network: what a server sends is handed on after the delay and in order, what is sent to it
passes at once. So each exchange of question and answer takes longer by one round trip. The relay costs
processor time of its own: compare with one whose delay is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_HOST: Final = "127.0.0.1"


class _End(asyncio.Protocol):
    """One end of a relayed connection: what it receives goes to its peer, `delay` seconds later."""

    def __init__(self, peer: _End | None, delay: float) -> None:
        self.peer = peer
        self._delay = delay
        self._transport: asyncio.Transport | None = None
        #: Received before the connection on this side was made.
        self._early: list[bytes] = []
        self._over = False
        self._waiting: deque[Callable[[], None]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        for data in self._early:
            transport.write(data)
        self._early.clear()
        if self._over:
            transport.close()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            peer = self.peer
            self._later(lambda: peer.write(data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None:
            self._later(self.peer.close)

    def _later(self, act: Callable[[], None]) -> None:
        if not self._delay:
            act()
            return
        # Through a queue: two timers of the same instant could pass each other, bytes must not.
        self._waiting.append(act)
        asyncio.get_running_loop().call_later(self._delay, self._next)

    def _next(self) -> None:
        self._waiting.popleft()()

    def write(self, data: bytes) -> None:
        """Send bytes to whoever is connected here."""
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End the connection here, after what was written."""
        self._over = True
        if self._transport is not None:
            self._transport.close()


class _Client(_End):
    """The end at which a worker has connected; connects to the server behind it."""

    def __init__(self, server_port: int, delay: float) -> None:
        super().__init__(None, 0.0)
        self._server_port = server_port
        self._back = delay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        server = self.peer = _End(self, self._back)
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: server, _HOST, self._server_port)
        # Kept, or the loop would let go of it.
        self._connecting = loop.create_task(self._or_close(connecting))

    async def _or_close(self, connecting: Awaitable[object]) -> None:
        try:
            await connecting
        except OSError:
            self.close()


async def _serve(pairs: list[tuple[int, int]], delay: float) -> None:
    loop = asyncio.get_running_loop()

    def to(server_port: int) -> Callable[[], _Client]:
        return lambda: _Client(server_port, delay)

    servers = [await loop.create_server(to(server), _HOST, port, backlog=256) for port, server in pairs]
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    for server in servers:
        server.close()


def main() -> None:
    """Relay until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, required=True, help="seconds of one round trip")
    parser.add_argument("--map", action="append", required=True, metavar="PORT:SERVER_PORT")
    given = parser.parse_args()
    pairs = [(int(port), int(server)) for port, server in (one.split(":") for one in given.map)]
    asyncio.run(_serve(pairs, given.delay))


if __name__ == "__main__":
    main()
