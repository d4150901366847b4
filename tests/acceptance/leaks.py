"""Looks for secrets where none may be, in the clear and in the usual disguises."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import redis
from psycopg import sql

#: How deep a disguise inside a disguise is followed.
_DEPTH: Final = 3
_LONG: Final = 200
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}){8,}")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def leaks(places: Mapping[str, bytes], needles: Mapping[str, bytes]) -> list[str]:
    """Name every place that holds a secret: as it is, percent-encoded, hexadecimal, or inside base64.

    Args:
        places: Name → everything that was found there.
        needles: Name → a secret's bytes.
    """
    for name, needle in needles.items():
        assert len(needle) >= 7, f"{name} is so short that it would be found everywhere"
    found = set()
    for place, content in places.items():
        for shape in _shapes(content, _DEPTH):
            found |= {f"{name} in {place}" for name, needle in needles.items() if needle in shape}
    return sorted(found)


def _shapes(content: bytes, depth: int) -> Iterator[bytes]:
    yield content
    if b"%" in content:
        yield urllib.parse.unquote_to_bytes(content)
    if b"\\x" in content:
        # As Redis and Python write bytes that are no text.
        yield _ESCAPED.sub(lambda match: bytes.fromhex(match.group(1).decode()), content)
    if depth == 0:
        return
    inner = b"\n".join(_decoded(content))
    if inner:
        yield from _shapes(inner, depth - 1)


def _decoded(content: bytes) -> Iterator[bytes]:
    for match in _HEX.finditer(content):
        yield binascii.unhexlify(match.group())
    for match in _BASE64.finditer(content):
        text = match.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        # Where a run of base64 letters began before the encoded text, its phase is unknown; a long one is a
        # whole message, which its quotes delimit.
        for phase in range(4 if len(text) < _LONG else 1):
            part = text[phase : phase + (len(text) - phase) // 4 * 4] or b"AAAA"
            yield base64.b64decode(part)
        yield base64.b64decode(text[: len(text) // 4 * 4] + _rest(text))


def _rest(text: bytes) -> bytes:
    rest = text[len(text) // 4 * 4 :]
    return b"" if len(rest) < 2 else rest + b"=" * (4 - len(rest))


def database_as_bytes(url: str) -> bytes:
    """Give every row of every table, as text and with each binary column as it is."""
    parts: list[bytes] = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert tables
        for schema, table in tables:
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table)))
            for row in rows:
                parts += [_as_bytes(value) for value in row]
    return b"\n".join(parts)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, list):
        return b"\n".join(_as_bytes(item) for item in value)
    return str(value).encode()


def redis_as_bytes(url: str) -> bytes:
    """Give every key of a Redis database with its name and content, whatever its type."""
    readers: dict[bytes, Any] = {
        b"string": lambda client, key: [client.get(key)],
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"set": lambda client, key: client.smembers(key),
        b"hash": lambda client, key: [part for pair in client.hgetall(key).items() for part in pair],
        b"zset": lambda client, key: client.zrange(key, 0, -1),
    }
    parts: list[bytes] = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            if kind != b"none":
                parts += [key, *(part or b"" for part in readers[kind](client, key))]
    return b"\n".join(parts)


class Wiretap:
    """Hears every command that any client sends to a Redis server, while the `with` block lasts."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._heard: list[bytes] = []
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._mark = f"wiretap-of-the-tests-{id(self)}"

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis publishes no type here
            self._listening.set()
            while True:
                command = str(monitor.next_command()["command"])
                if self._mark in command:
                    return
                self._heard.append(command.encode("utf-8", "surrogateescape"))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._client:
            self._client.echo(self._mark)
            self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def heard(self) -> bytes:
        """Everything so far, a command a line."""
        return b"\n".join(self._heard)
