"""The relay that stands in for a network: what goes through it arrives whole and in order."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.waiting import eventually
from workers.supervision.ports import accepts_connections, free_port


@pytest.fixture
def echo() -> Iterator[int]:
    """Serve one connection at a time with what it sends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with closing(connection):
                    while data := connection.recv(65536):
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("delay", ["0", "0.002"])
def test_bytes_arrive_in_order(echo: int, delay: str) -> None:
    """A hundred thousand numbered lines come back as they were sent."""
    port = free_port()
    relay = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load.relay", "--delay", delay, "--map", f"{port}:{echo}"]
    )
    try:
        eventually(lambda: accepts_connections(port), what="the relay listens")
        sent = b"".join(b"%d\n" % number for number in range(100_000))
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as client:
            threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
            received = bytearray()
            while len(received) < len(sent):
                received += client.recv(65536)
        assert bytes(received) == sent
    finally:
        relay.terminate()
        assert relay.wait(30) == 0
