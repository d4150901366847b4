"""One HTTP exchange: a total deadline, no redirects, retries or cookies, an exact word on what was sent."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import httpcore2
import httpx2

from domain.errors import Malformed, NotSent, OutcomeUnknown, ProviderError
from providers.network import Call, DeadlineBackend, Stage, bounded_call

#: How long an idle connection is kept. Providers' front ends commonly close theirs after one to five minutes.
KEEPALIVE_SECONDS: Final = 30.0
#: … and towards providers where a lost answer cannot be asked for again: a connection that the provider
#: closes just as a request is sent on it leaves that request in doubt.
FRESH_KEEPALIVE_SECONDS: Final = 2.0
MOST_IDLE_CONNECTIONS: Final = 64
#: Token answers are a few kilobytes; what is larger is not one.
ANSWER_LIMIT_BYTES: Final = 1024 * 1024
#: The only headers that judgement reads.
_JUDGED_HEADERS: Final = ("retry-after", "date", "www-authenticate")


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
    url: httpx2.URL
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
        self, *, ssl_context: ssl.SSLContext | None = None, answer_limit: int = ANSWER_LIMIT_BYTES
    ) -> None:
        # At DEBUG the one prints answer headers, and a redirect's Location may echo a query; at INFO the
        # other writes a line for each request that says nothing our own events do not say.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._answer_limit = answer_limit
        self._headers = {
            "User-Agent": user_agent(),
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # an answer is small, and unpacking could only fail
        }
        self._client = httpx2.Client(
            transport=_Pools(ssl_context or httpcore2.default_ssl_context()),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            timeout=None,  # the sockets carry the call's total deadline
            trust_env=False,  # a netrc or a proxy variable must not change who sees a credential
        )

    def close(self) -> None:
        """Close every connection. The wire cannot be used afterwards."""
        self._client.close()

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
            NotSent: Nothing of the request was handed to a socket.
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
                failure, cause = _failure(call, error), error
        # Outside the except block on purpose: protocol errors quote what was about to be sent or what was
        # received, which may be a token, so they must not travel along as cause or context.
        if isinstance(failure, NotSent) and not isinstance(cause, httpcore2.ProtocolError):
            raise failure from cause
        raise failure

    def _exchange(self, request: WireRequest) -> WireAnswer:
        # Not Client.build_request: merging nothing into every request is a tenth of the whole call's cost.
        outgoing = httpx2.Request(
            request.method,
            request.url,
            headers={**self._headers, **request.headers},
            content=request.content,
            extensions={"secret_query": request.secret_query, "fresh": request.fresh},
        )
        response = self._client.send(outgoing, stream=True)
        try:
            chunks: list[bytes] = []
            size, oversized = 0, False
            packed = "content-encoding" in response.headers
            body = response.stream
            if not isinstance(body, httpx2.SyncByteStream):
                raise TypeError("unreachable: a synchronous client answers with a synchronous stream")
            for chunk in response.iter_bytes() if packed else body:
                size += len(chunk)
                if size > self._answer_limit:
                    chunks, oversized = [], True
                    break
                chunks.append(chunk)
        finally:
            response.close()
        headers = {name: response.headers[name] for name in _JUDGED_HEADERS if name in response.headers}
        return WireAnswer(response.status_code, headers, b"".join(chunks), oversized)


def _failure(call: Call, error: Exception) -> ProviderError:
    """Say what a failed exchange means for the request: the sockets know what was sent, not the exception."""
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


class _Pools(httpx2.BaseTransport):
    """Two pools of connections over deadline-bound sockets: ordinary keep-alive, and fresh."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        backend = DeadlineBackend()
        self._ordinary, self._fresh = (
            httpcore2.ConnectionPool(
                ssl_context=ssl_context,
                # No bound here: a thread has one connection at most, and a shared bound would let one slow
                # provider use up the connections of all others.
                max_connections=None,
                max_keepalive_connections=MOST_IDLE_CONNECTIONS,
                keepalive_expiry=keepalive,
                network_backend=backend,
            )
            for keepalive in (KEEPALIVE_SECONDS, FRESH_KEEPALIVE_SECONDS)
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, extensions = request.url, request.extensions
        target = url.raw_path
        if secret_query := extensions["secret_query"]:
            target += (b"&" if b"?" in target else b"?") + secret_query
        pool = self._fresh if extensions["fresh"] else self._ordinary
        # The library's exceptions pass through as they are: httpx2's own would carry the request with them.
        answer = pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
                headers=request.headers.raw,
                content=request.stream,
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        self._ordinary.close()
        self._fresh.close()


class _Body(httpx2.SyncByteStream):
    """The answer's body, as the pool delivers it; closing it gives the connection back."""

    def __init__(self, stream: object) -> None:
        if not isinstance(stream, Iterable):
            raise TypeError("unreachable: a synchronous pool answers with a synchronous stream")
        self._stream: Iterable[bytes] = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        if callable(close := getattr(self._stream, "close", None)):
            close()
