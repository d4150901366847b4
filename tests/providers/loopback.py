"""A server on a real socket that does with each connection what a test's function says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Loopback:
    """A listening server.

    Attributes:
        requests: Every whole request that was read, head and body, in the order of arrival.
        connections: How many connections were accepted.
        released: Set when the test is over; handlers that hang wait for it.
        sockets: What is shut down then; a handler that wraps its socket adds the wrapped one.
    """

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    sockets: list[socket.socket] = field(default_factory=list)

    def url(self, path: str = "/token", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def read_request(self, sock: socket.socket) -> bytes | None:
        """Read one whole request, None where the client went away first."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = sock.recv(65536)
            if not piece:
                return None
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            piece = sock.recv(65536)
            if not piece:
                return None
            body += piece
        whole = head + b"\r\n\r\n" + body
        self.requests.append(whole)
        return whole


Handler = Callable[[Loopback, socket.socket], None]


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def tokens(**changes: object) -> bytes:
    members = {"access_token": "new-AT-98765", "token_type": "Bearer", "expires_in": 3600, **changes}
    return json.dumps(members).encode()


def answering(response: bytes) -> Handler:
    """Answer every request of a connection with the same bytes, and keep the connection."""

    def handle(server: Loopback, sock: socket.socket) -> None:
        while server.read_request(sock) is not None:
            sock.sendall(response)

    return handle


@contextmanager
def serving(handler: Handler) -> Iterator[Loopback]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = Loopback(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def one(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            handler(server, sock)

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            server.sockets.append(sock)
            thread = threading.Thread(target=one, args=(sock,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        server.released.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for sock in server.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
