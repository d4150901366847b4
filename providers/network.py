"""Sockets that know a call's deadline, and that know whether a byte of the request may have left.

The HTTP library bounds each read and write on its own, so a server that drips one byte every few seconds
could hold a call for ever. Here every connect, handshake, write and read of a call is bounded by what remains
of one deadline. The call in progress belongs to its thread: the pool hands a connection to whichever thread
needs one, and the deadline has to travel with the thread, not with the connection.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import httpcore2

from providers.addresses import points_inside

# What getaddrinfo returns for each address: family, kind, protocol, canonical name, address.
_Address = tuple[int, int, int, str, tuple[Any, ...]]
_Addresses = Sequence[_Address]


class Stage(StrEnum):
    """How far a call has come."""

    QUEUED = "queue"
    RESOLVING = "dns"
    CONNECTING = "connect"
    SECURING = "tls"
    WRITING = "write"
    READING = "read"


class Call:
    """One HTTP call of one thread.

    Attributes:
        write_begun: A write of the request was handed to the socket: from here on the provider may have it.
        answered: At least one byte of an answer arrived.
    """

    __slots__ = ("_ends_at", "answered", "stage", "write_begun")

    def __init__(self, seconds: float, began: float | None = None) -> None:
        self._ends_at = (time.monotonic() if began is None else began) + seconds
        self.stage = Stage.QUEUED
        self.write_begun = False
        self.answered = False

    def remaining(self) -> float:
        """Return the seconds left; zero or less once the deadline has passed."""
        return self._ends_at - time.monotonic()


class _Current(threading.local):
    call: Call | None = None


_current = _Current()


@contextmanager
def bounded_call(seconds: float, *, began: float | None = None) -> Iterator[Call]:
    """Bound everything this thread does on `DeadlineBackend`'s sockets until the block ends.

    Args:
        began: From when the seconds count, on the monotonic clock; None: from now.
    """
    call = Call(seconds, began)
    _current.call = call
    try:
        yield call
    finally:
        _current.call = None


def _enter(stage: Stage, too_late: type[Exception]) -> tuple[Call, float]:
    """Note the stage of this thread's call and return what remains of it; raise once nothing does."""
    call = _current.call
    if call is None:
        raise AssertionError("unreachable: a socket of the provider client used outside bounded_call")
    call.stage = stage
    remaining = call.remaining()
    if remaining <= 0:
        raise too_late("the call's deadline has passed")
    return call, remaining


class AddressInside(httpcore2.ConnectError):
    """Every address of the host leads inside; nothing was connected to."""


class _Stream(httpcore2.NetworkStream):
    """A connected socket. The library's own timeouts are not used: the call's deadline is.

    What is written is kept until the first read, so that head and body of a request leave together: one
    system call, one packet, and a request that never started leaves no half of itself behind.

    The socket itself never waits; where there is nothing to read or no room to write, `poll` does, for what
    remains of the deadline. A timeout of the socket's own would be a system call more for each send and each
    read, and one for setting it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._unsent: list[bytes] = []
        self._readable = select.poll()
        self._readable.register(sock.fileno(), select.POLLIN)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent.append(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            unsent, self._unsent = memoryview(b"".join(self._unsent)), []
            self._send(unsent)
        while True:
            call, remaining = _enter(Stage.READING, httpcore2.ReadTimeout)
            try:
                if not self._has_more():
                    self._readable.poll(1000 * remaining)
                received = self._sock.recv(max_bytes)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue  # Time is over, or a record of TLS is not whole yet.
            except ssl.SSLWantWriteError:
                self._await_room(remaining)
                continue
            except OSError as error:
                raise httpcore2.ReadError(str(error)) from error
            if received:
                call.answered = True
            return received

    def _has_more(self) -> bool:
        """Say whether something has been read that the socket does not show: the rest of a record of TLS."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _send(self, unsent: memoryview) -> None:
        while unsent:
            call, remaining = _enter(Stage.WRITING, httpcore2.WriteTimeout)
            try:
                call.write_begun = True
                unsent = unsent[self._sock.send(unsent) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._await_room(remaining)
            except ssl.SSLWantReadError:
                self._readable.poll(1000 * remaining)
            except OSError:
                # A server that refuses early closes its end while we still write; what it answered first
                # is there to be read, and if nothing is, the read says so.
                return

    def _await_room(self, seconds: float) -> None:
        writable = select.poll()
        writable.register(self._sock.fileno(), select.POLLOUT)
        writable.poll(1000 * seconds)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            _, remaining = _enter(Stage.SECURING, httpcore2.ConnectTimeout)
            self._sock.settimeout(remaining)  # bounds the handshake as a whole (ssl.SSLSocket.do_handshake)
            return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except TimeoutError as error:
            self.close()
            raise httpcore2.ConnectTimeout(str(error)) from error
        except (OSError, ValueError) as error:  # ValueError: a host name that no certificate can carry
            self.close()
            raise httpcore2.ConnectError(str(error)) from error
        except httpcore2.ConnectTimeout:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the library's signature
        if info == "is_readable":
            # An idle connection that has something to read can only have the peer's goodbye.
            return self._sock.fileno() < 0 or bool(self._readable.poll(0))
        if info == "socket":
            return self._sock
        return None


class _Resolver:
    """Looks names up within a time limit; one lookup of a name at a time, shared by all who wait for it.

    The operating system's resolver cannot be given a deadline, so it runs in a thread of its own. One thread
    a name at most: a name server that hangs for one provider holds up no other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[_Addresses]] = {}

    def resolve(self, host: str, port: int, seconds: float) -> _Addresses:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # A name, not an address.
        key = (host, port)
        with self._lock:
            future = self._pending.get(key)
            if future is None:
                future = self._pending[key] = Future()
                threading.Thread(target=self._look_up, args=(key, future), name="dns", daemon=True).start()
        return future.result(seconds)

    def _look_up(self, key: tuple[str, int], future: Future[_Addresses]) -> None:
        found: _Addresses = []
        failure: OSError | None = None
        try:
            found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a label that is empty or too long for IDNA
            failure = OSError(str(error))
        except OSError as error:
            failure = error
        finally:
            with self._lock:
                del self._pending[key]
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(found)


class DeadlineBackend(httpcore2.NetworkBackend):
    """Opens TCP connections within the deadline of the calling thread's `bounded_call`. Thread-safe."""

    def __init__(self, *, inside: bool = False) -> None:
        """Begin.

        Args:
            inside: Connect to addresses that lead inside as well (`providers.addresses`).
        """
        self._resolver = _Resolver()
        self._inside = inside

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first of the host's addresses that answers.

        Each is judged and connected to as the one answer of the name server has it; a second look-up could
        be answered otherwise.

        Raises:
            AddressInside: Every address leads inside, and none may.
            httpcore2.ConnectTimeout: The deadline passed first.
            httpcore2.ConnectError: The name is unknown, or every address refused.
        """
        _, remaining = _enter(Stage.RESOLVING, httpcore2.ConnectTimeout)
        try:
            addresses = self._resolver.resolve(host, port, remaining)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the name could not be looked up in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        if not self._inside and addresses:
            addresses = [found for found in addresses if not points_inside(str(found[4][0]))]
            if not addresses:
                raise AddressInside("the host's addresses lead inside")
        failure: OSError = OSError("the name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            _, remaining = _enter(Stage.CONNECTING, httpcore2.ConnectTimeout)
            sock: socket.socket | None = None
            try:
                sock = socket.socket(family, kind, protocol)
                # A share of what remains, so that one address that swallows packets leaves time for the next.
                sock.settimeout(remaining / (len(addresses) - tried))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                if sock is not None:
                    sock.close()
                failure = error
            else:
                return _Stream(sock)
        kind_of = httpcore2.ConnectTimeout if isinstance(failure, TimeoutError) else httpcore2.ConnectError
        raise kind_of(str(failure)) from failure
