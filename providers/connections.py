"""Connections to providers, kept open between calls; the library's, and used the last one first.

The library's own pool looks at all of its connections before and after each call, whomever they lead to: two
system calls for each that is idle. Here a call looks at the one it takes.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Self

import h11
import httpcore2
import httpx2

from providers.network import DeadlineBackend
from providers.toml_values import is_loopback

#: How long an idle connection is kept. Providers' front ends commonly close theirs after one to five minutes.
KEEPALIVE_SECONDS: Final = 30.0
#: … and towards providers where a lost answer cannot be asked for again: a connection that the provider
#: closes just as a request is sent on it leaves that request in doubt.
FRESH_KEEPALIVE_SECONDS: Final = 2.0
#: Over all providers; the one that has idled longest makes room.
MOST_IDLE_CONNECTIONS: Final = 128
#: Seconds between two looks for those that have idled too long, or that their provider has closed.
TIDY_EVERY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL in the pieces that go over the wire; made once for each URL of a definition.

    Attributes:
        host: Value of the Host header.
        place: Scheme, host and port; connections that lead to the same place may carry each other's calls.
        name: The host alone, in lower case.
        fixed: The host is written out in a definition, and is not a connection's own.
        local: … and it is a loopback host, so that it may lead inside.
    """

    text: str
    url: httpcore2.URL = field(repr=False, compare=False)
    host: bytes = field(repr=False)
    place: str = field(repr=False)
    name: str = field(repr=False)
    fixed: bool = field(repr=False, default=True)
    local: bool = field(repr=False, default=False)

    @classmethod
    def of(cls, text: str, *, fixed: bool = True) -> Self:
        """Take a URL to pieces.

        Raises:
            httpx2.InvalidURL: It is none.
        """
        url = httpx2.URL(text)
        wire = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        name = plain_host(url.host)
        return cls(text, wire, url.netloc, str(wire.origin), name, fixed, fixed and is_loopback(name))

    def __str__(self) -> str:
        return self.text

    def asking(self, query: bytes) -> httpcore2.URL:
        """Return the URL with more parameters, encoded, behind those that it has."""
        if not query:
            return self.url
        target = self.url.target
        joint = b"&" if b"?" in target else b"?"
        return httpcore2.URL(
            scheme=self.url.scheme, host=self.url.host, port=self.url.port, target=target + joint + query
        )


def plain_host(host: str) -> str:
    """Return a host as two spellings of it are compared: in lower case, without brackets or a last dot."""
    return host.lower().strip("[]").removesuffix(".")


class Connections:
    """Thread-safe; a connection belongs to one call at a time.

    How many are in use at once is not bounded here: a thread has one at most, and a shared bound would let
    one slow provider use up the connections of all others.
    """

    def __init__(self, ssl_context: ssl.SSLContext, internal_hosts: Collection[str] = ()) -> None:
        """Begin without any.

        Args:
            internal_hosts: Hosts that may lead inside (`providers.addresses`), besides loopback hosts that a
                definition has written out.
        """
        self._ssl_context = ssl_context
        self._internal = frozenset(map(plain_host, internal_hosts))
        self._outside = DeadlineBackend(inside=False)
        self._anywhere = DeadlineBackend(inside=True)
        self._lock = threading.Lock()
        #: What they lead to, whether they may lead inside, and whether they are kept for `fresh` calls; the
        #: last used stand last.
        self._idle: list[tuple[tuple[str, bool, bool], httpcore2.HTTPConnection]] = []
        self._tidy_at = time.monotonic() + TIDY_EVERY
        self._closed = False

    def take(self, destination: Destination, *, fresh: bool) -> httpcore2.HTTPConnection:
        """Return a connection for one call: open and idle, or a new one, which opens with the call.

        Args:
            fresh: None that has idled for more than two seconds.
        """
        inside = self._may_lead_inside(destination)
        while (connection := self._last_used((destination.place, inside, fresh))) is not None:
            if not connection.has_expired():
                return connection
            connection.close()
        return httpcore2.HTTPConnection(
            destination.url.origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=FRESH_KEEPALIVE_SECONDS if fresh else KEEPALIVE_SECONDS,
            network_backend=self._anywhere if inside else self._outside,
        )

    def _may_lead_inside(self, destination: Destination) -> bool:
        return destination.local or destination.name in self._internal

    def _last_used(self, wanted: tuple[str, bool, bool]) -> httpcore2.HTTPConnection | None:
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] == wanted:
                    return self._idle.pop(place)[1]
        return None

    def give_back(
        self, connection: httpcore2.HTTPConnection, destination: Destination, *, fresh: bool
    ) -> None:
        """Keep a connection whose call is over, if another call may use it; it is closed else.

        One that has more than the call's answer is closed too: the next call would take that for its own.
        """
        if not connection.is_available() or _has_leftovers(connection):
            connection.close()
            return
        wanted = (destination.place, self._may_lead_inside(destination), fresh)
        with self._lock:
            self._idle.append((wanted, connection))
            leaving = self._leaving()
        for one in leaving:
            one.close()

    def _leaving(self) -> list[httpcore2.HTTPConnection]:
        """Take out whatever is not to be kept any longer. Under the lock."""
        if self._closed:
            leaving = self._idle
            self._idle = []
        elif time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY_EVERY
            leaving = [one for one in self._idle if one[1].has_expired()]
            self._idle = [one for one in self._idle if one not in leaving]
        else:
            leaving = []
        surplus = max(0, len(self._idle) - MOST_IDLE_CONNECTIONS)
        leaving, self._idle = leaving + self._idle[:surplus], self._idle[surplus:]
        return [connection for _, connection in leaving]

    def close(self) -> None:
        """Close all that are idle, and those in use when their calls are over."""
        with self._lock:
            self._closed = True
            leaving = self._leaving()
        for one in leaving:
            one.close()


def _has_leftovers(connection: httpcore2.HTTPConnection) -> bool:
    """Say whether bytes behind the answer have been read with it; where nobody can tell, there are some.

    The library keeps them, and the next request's answer would begin with them: that of another grant. What
    has not been read yet makes an idle connection readable, which `has_expired` sees. Nothing public tells.
    """
    state = getattr(getattr(connection, "_connection", None), "_h11_state", None)
    return not isinstance(state, h11.Connection) or state.trailing_data[0] != b""
