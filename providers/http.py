"""One HTTP exchange: a total deadline, no redirects, retries or cookies, an exact word on what was sent."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import httpcore2
import httpx2

from domain.errors import (
    ADDRESS_INSIDE,
    ClientMisconfigured,
    Malformed,
    NotSent,
    OutcomeUnknown,
    ProviderError,
)
from providers.connections import Connections, Destination
from providers.network import AddressInside, Call, Stage, bounded_call

#: Token answers are a few kilobytes; what is larger is not one.
ANSWER_LIMIT_BYTES: Final = 1024 * 1024
#: The only headers that judgement reads.
_JUDGED_HEADERS: Final = {b"retry-after", b"date", b"www-authenticate"}


def user_agent() -> str:
    """Return ``evergrant/<version>``, without a version where the package is not installed."""
    try:
        return f"evergrant/{version('evergrant')}"
    except PackageNotFoundError:
        return "evergrant"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request that is ready to be sent. `repr` shows neither body nor headers nor the query.

    Attributes:
        secret_query: Encoded query parameters that never become part of a URL object, so that no log of the
            HTTP library can show them; joined to the target as the bytes are written.
        fresh: Do not reuse a connection that idled for more than two seconds.
    """

    method: str
    url: Destination
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    secret_query: bytes = field(default=b"", repr=False)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """A whole answer. `repr` does not show the body.

    Attributes:
        headers: Names in lower case; only those that judgement reads.
        oversized: The body was longer than is read; `body` is then empty.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    oversized: bool = False


class Wire:
    """The process's HTTP client towards providers. Thread-safe; made once a process, after any fork."""

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        answer_limit: int = ANSWER_LIMIT_BYTES,
        internal_hosts: Collection[str] = (),
    ) -> None:
        """Make a client without any connection yet.

        Args:
            answer_limit: Bytes of an answer that are read; a longer one is `oversized`.
            internal_hosts: Hosts that may lead inside (`providers.addresses`), besides loopback hosts that a
                definition has written out.
        """
        # At DEBUG it prints answer headers, and a redirect's Location may echo a query.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        self._answer_limit = answer_limit
        self._headers = {
            "User-Agent": user_agent(),
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # an answer is small, and unpacking could only fail
        }
        # Not httpx2.Client: cookies, redirects, proxies, netrc, hooks and its own exceptions are all things
        # that must not happen here, and keeping them from happening was half of a call's cost.
        self._connections = Connections(ssl_context or httpcore2.default_ssl_context(), internal_hosts)

    def close(self) -> None:
        """Close every connection. The wire cannot be used afterwards."""
        self._connections.close()

    def exchange(
        self, request: WireRequest, *, deadline: timedelta, began: float | None = None
    ) -> WireAnswer:
        """Send one request and return its whole answer, whatever its status.

        Args:
            deadline: Total time from the first connect to the last byte of the answer.
            began: From when it counts, on the monotonic clock; None: from now. A process that was frozen
                since then for longer than the deadline sends nothing: it is looked at right before the first
                byte is written.

        Raises:
            NotSent: Nothing of the request was handed to a socket. Code ``address_inside``: a host that is
                this connection's own leads inside.
            ClientMisconfigured: Code ``address_inside``: a host that a definition has written out leads
                inside, and no setting allows that. Nothing was sent.
            OutcomeUnknown: Some of it was, and no whole answer came back.
        """
        with bounded_call(deadline.total_seconds(), began=began) as call:
            try:
                return self._exchange(request)
            except (
                httpcore2.TimeoutException,
                httpcore2.NetworkError,
                httpcore2.ProtocolError,
                httpx2.DecodingError,
            ) as error:
                failure, cause = _failure(call, error, request.url), error
        # Outside the except block on purpose: protocol errors quote what was about to be sent or what was
        # received, which may be a token, so they must not travel along as cause or context.
        if isinstance(failure, NotSent) and not isinstance(cause, httpcore2.ProtocolError):
            raise failure from cause
        raise failure

    def _exchange(self, request: WireRequest) -> WireAnswer:
        connection = self._connections.take(request.url, fresh=request.fresh)
        try:
            response = connection.handle_request(self._outgoing(request))
            try:
                return self._read(response)
            finally:
                _close(response)
        finally:
            self._connections.give_back(connection, request.url, fresh=request.fresh)

    def _outgoing(self, request: WireRequest) -> httpcore2.Request:
        content = request.content or b""
        headers = [(b"Host", request.url.host)]
        headers += [
            (name.encode("ascii"), value.encode("ascii"))
            for name, value in {**self._headers, **request.headers}.items()
        ]
        if request.content is not None or request.method == "POST":
            headers.append((b"Content-Length", b"%d" % len(content)))
        return httpcore2.Request(
            request.method, request.url.asking(request.secret_query), headers=headers, content=content
        )

    def _read(self, response: httpcore2.Response) -> WireAnswer:
        headers, packed = _judged(response.headers)
        chunks: list[bytes] = []
        size = 0
        for chunk in _unpacked(response) if packed else _pieces(response):
            size += len(chunk)
            if size > self._answer_limit:
                return WireAnswer(response.status, headers, b"", oversized=True)
            chunks.append(chunk)
        return WireAnswer(response.status, headers, b"".join(chunks))


def _judged(raw: list[tuple[bytes, bytes]]) -> tuple[dict[str, str], bool]:
    """Return the headers that are judged, repeated ones joined, and whether the body is packed."""
    headers: dict[str, str] = {}
    packed = False
    for written, value in raw:
        name = written.lower()
        if name in _JUDGED_HEADERS:
            key, text = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        elif name == b"content-encoding":
            packed = True
    return headers, packed


def _pieces(response: httpcore2.Response) -> Iterable[bytes]:
    if not isinstance(response.stream, Iterable):
        raise TypeError("unreachable: a synchronous connection answers with a synchronous stream")
    return response.stream


def _close(response: httpcore2.Response) -> None:
    """Let the connection know that the answer is over, read to its end or not."""
    if callable(close := getattr(response.stream, "close", None)):
        close()


def _unpacked(response: httpcore2.Response) -> Iterator[bytes]:
    body = _Body(_pieces(response))
    return httpx2.Response(response.status, headers=response.headers, stream=body).iter_bytes()


class _Body(httpx2.SyncByteStream):
    """An answer's body, as httpx2 wants it for unpacking."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


def _failure(call: Call, error: Exception, to: Destination) -> ProviderError:
    """Say what a failed exchange means for the request: the sockets know what was sent, not the exception."""
    if isinstance(error, AddressInside):
        # A connection's own host is the trouble of that connection; a definition's is everybody's.
        return ClientMisconfigured(ADDRESS_INSIDE) if to.fixed else NotSent(ADDRESS_INSIDE)
    timed_out = isinstance(error, httpcore2.TimeoutException)
    if not call.write_begun:
        if call.stage in (Stage.QUEUED, Stage.WRITING):
            return NotSent("deadline_before_send" if timed_out else "request_not_sendable")
        return NotSent(f"{call.stage}_timed_out" if timed_out else f"{call.stage}_failed")
    if isinstance(error, httpx2.DecodingError):
        return Malformed("answer_not_decodable")
    if timed_out:
        return OutcomeUnknown("timed_out")
    return OutcomeUnknown("answer_cut" if call.answered else "no_answer")
