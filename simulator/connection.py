"""One client's TCP connection: HTTP/1.1 with keep-alive by h11, and the bare socket for what HTTP forbids."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import cast

import h11

from simulator.wire import Answer, Headers, Request, http_date, reason_of

_BODY_LIMIT_BYTES = 16 * 1024 * 1024
_HEAD_LIMIT_BYTES = 64 * 1024


class Exchange:
    """One request and the one answer it will get, in whatever condition."""

    __slots__ = ("_connection", "_on_gone", "gone", "request")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._on_gone: asyncio.Event | None = None
        self.request = request
        self.gone = False
        """Whether the client has closed the connection (or it was closed on the client)."""

    def reply(self, answer: Answer) -> bool:
        """Send the answer; return whether there was still a client to send it to."""
        if self.gone:
            return False
        self._connection.reply(answer)
        return True

    def drop(self, *, reset: bool = False) -> None:
        """Close the connection without an answer; with `reset`, by RST instead of FIN."""
        self._connection.drop(reset=reset)

    def reply_cut(self, answer: Answer) -> None:
        """Send an answer that announces its whole body, then half of that body, then close."""
        half = answer.body[: len(answer.body) // 2]
        self._connection.write_raw(self._connection.head(answer, len(answer.body)) + half)
        self._connection.close()

    def reply_raw(self, raw: bytes) -> None:
        """Send bytes that need not be HTTP, then close."""
        self._connection.write_raw(raw)
        self._connection.close()

    async def reply_slowly(self, answer: Answer, bytes_per_second: float) -> bool:
        """Send the head at once and the body in drips, then close; return whether all of it went out."""
        self._connection.write_raw(self._connection.head(answer, len(answer.body)))
        step = max(1, int(bytes_per_second / 20))
        for start in range(0, len(answer.body), step):
            if await self.client_left(step / bytes_per_second):
                return False
            self._connection.write_raw(answer.body[start : start + step])
        self._connection.close()
        return True

    async def client_left(self, seconds: float) -> bool:
        """Wait that long or until the client is gone; return whether it is."""
        if not self.gone:
            self._on_gone = asyncio.Event()
            try:
                async with asyncio.timeout(seconds):
                    await self._on_gone.wait()
            except TimeoutError:
                pass
        return self.gone

    def start_stream(self, content_type: str) -> None:
        """Begin an answer of unknown length with status 200."""
        self._connection.start_stream(content_type)

    async def stream(self, piece: bytes) -> None:
        """Send a piece of it once the client has taken the pieces before."""
        await self._connection.stream(piece)

    def end_stream(self) -> None:
        """Finish the answer that `start_stream` began."""
        self._connection.end_stream()

    def report_bug(self) -> None:
        """Print the exception being handled, and do not leave the client waiting."""
        self._connection.report_bug(self)

    def note_gone(self) -> None:
        """Called by the connection when it is lost."""
        self.gone = True
        if self._on_gone is not None:
            self._on_gone.set()


class Connection(asyncio.Protocol):
    """Reads requests one after another and hands each to `serve`, which answers now or later."""

    def __init__(self, serve: Callable[[Exchange], None], open_connections: set[Connection]) -> None:
        self._serve = serve
        self._open = open_connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self._head: h11.Request | None = None
        self._body = b""
        self._exchange: Exchange | None = None
        self._pumping = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._peer = ""
        self.idle_since: float | None = time.monotonic()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange under way that nobody is listening any more."""
        self._open.discard(self)
        self._writable.set()
        if self._exchange is not None:
            self._exchange.note_gone()

    def pause_writing(self) -> None:
        """Hold streams back: the client reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let streams go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, and serve each request as soon as it is whole."""
        self._http.receive_data(data)
        self._pump()

    # Reading.

    def _pump(self) -> None:
        # An answer given at once ends its cycle inside _serve; the loop here goes on, instead of recursing.
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._exchange is None and not self._transport.is_closing() and self._step():
                pass
        finally:
            self._pumping = False

    def _step(self) -> bool:
        """Take one event from h11; return whether there may be another."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
            return False
        if event is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            return False
        if isinstance(event, h11.Request):
            self._head, self._body, self.idle_since = event, b"", None
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > _BODY_LIMIT_BYTES:
                self._refuse(413)
                return False
        elif isinstance(event, h11.EndOfMessage):
            self._dispatch()
        else:  # PAUSED or ConnectionClosed
            if isinstance(event, h11.ConnectionClosed):
                self._transport.close()
            return False
        return True

    def _dispatch(self) -> None:
        head = self._head
        if head is None:
            raise AssertionError("unreachable")
        target = head.target.decode("latin-1")
        path, _, query = target.partition("?")
        request = Request(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers=dict(head.headers),
            body=self._body,
            peer=self._peer,
        )
        self._body = b""
        self._exchange = Exchange(self, request)
        try:
            self._serve(self._exchange)
        except Exception:  # noqa: BLE001 - a bug must not leave the client waiting: said aloud, answered 500
            self.report_bug(self._exchange)

    def report_bug(self, exchange: Exchange | None) -> None:
        """Print the current exception and answer 500 if the client still waits. Tracebacks hold no tokens."""
        traceback.print_exc(file=sys.stderr)
        if exchange is self._exchange and self._http.our_state is h11.SEND_RESPONSE:
            self.reply(Answer(500, b"the simulator has a bug or a full disk; see its stderr", "text/plain"))
        else:
            self.drop(reset=False)

    def _refuse(self, status: int) -> None:
        answer = Answer(status, b"", "text/plain")
        self._transport.write(self.head(answer, 0))
        self._transport.close()

    # Writing.

    def reply(self, answer: Answer) -> None:
        """Send a whole answer and go on to the next request."""
        http = self._http
        headers = [*self._headers(answer), (b"content-length", b"%d" % len(answer.body))]
        raw = http.send(
            h11.Response(status_code=answer.status, headers=headers, reason=reason_of(answer.status))
        )
        if answer.body and self._head is not None and self._head.method != b"HEAD":
            raw += http.send(h11.Data(data=answer.body))
        http.send(h11.EndOfMessage())
        self._transport.write(raw)
        self._next_cycle()

    def start_stream(self, content_type: str) -> None:
        """Send the head of a chunked answer."""
        headers = [*self._headers(Answer(200, b"", content_type)), (b"transfer-encoding", b"chunked")]
        self._send(h11.Response(status_code=200, headers=headers, reason=b"OK"))

    async def stream(self, piece: bytes) -> None:
        """Send one chunk when the buffer has room."""
        await self._writable.wait()
        self._send(h11.Data(data=piece))

    def end_stream(self) -> None:
        """Send the last chunk and go on to the next request."""
        self._send(h11.EndOfMessage())
        self._next_cycle()

    def head(self, answer: Answer, content_length: int) -> bytes:
        """Return status line and headers of an answer after which the connection closes."""
        lines = [b"HTTP/1.1 %d %s" % (answer.status, reason_of(answer.status))]
        lines += [name + b": " + value for name, value in self._headers(answer)]
        return b"\r\n".join([*lines, b"content-length: %d" % content_length, b"connection: close", b"", b""])

    def write_raw(self, raw: bytes) -> None:
        """Send bytes past h11; the connection must be closed afterwards."""
        if not self._transport.is_closing():
            self._transport.write(raw)

    def close(self) -> None:
        """Close once everything is sent."""
        self._transport.close()

    def drop(self, *, reset: bool) -> None:
        """Close at once; do nothing if the client was faster."""
        if self._transport.is_closing():
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _send(self, event: h11.Event) -> None:
        raw = self._http.send(event)
        if raw and not self._transport.is_closing():
            self._transport.write(raw)

    def _next_cycle(self) -> None:
        self._exchange = None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.idle_since = time.monotonic()
            self._pump()
        else:
            self._transport.close()

    @staticmethod
    def _headers(answer: Answer) -> Headers:
        usual = ((b"date", http_date()), (b"content-type", answer.content_type.encode()))
        said = {name for name, _ in answer.headers}
        return (*(header for header in usual if header[0] not in said), *answer.headers)
