"""The search for secrets finds what it must: a search that finds nothing anywhere would prove nothing."""

from __future__ import annotations

import base64
import json

import psycopg
import pytest
import redis

from tests.acceptance.leaks import Wiretap, database_as_bytes, leaks, redis_as_bytes

SECRET = b"sim-rt-planted"


def in_a_message(content: bytes) -> bytes:
    """Wrap it as a Celery message in Redis: JSON, whose body is base64 of JSON."""
    body = base64.b64encode(json.dumps([[], {"token": content.decode()}]).encode()).decode()
    return json.dumps({"body": body, "properties": {"body_encoding": "base64"}}).encode()


@pytest.mark.parametrize(
    "disguise",
    [
        SECRET,
        b"GET /check?token=sim%2Drt%2Dplanted HTTP/1.1",
        SECRET.hex().encode(),
        b"\\x" + SECRET.hex(" ").encode().replace(b" ", b"\\x"),
        base64.b64encode(b"user:" + SECRET),
        base64.urlsafe_b64encode(b"~~~?" + SECRET),
        in_a_message(SECRET),
        base64.b64encode(in_a_message(SECRET)),
    ],
    ids=["clear", "percent", "hex", "escaped", "basic", "urlsafe", "message", "message-in-base64"],
)
def test_a_secret_is_found_in_every_disguise(disguise: bytes) -> None:
    """However a planted secret is written, it is found, and named with its place."""
    assert leaks({"log": b"before " + disguise + b" after"}, {"token": SECRET}) == ["token in log"]


def test_what_holds_no_secret_is_not_accused() -> None:
    """A message without the secret is clean."""
    assert leaks({"log": in_a_message(b"sim-connection-42")}, {"token": SECRET}) == []


@pytest.mark.servers
def test_the_dumps_and_the_wiretap_show_what_was_written(database_url: str, redis_url: str) -> None:
    """A secret in any column, in any kind of key, or in a command that left no trace, is found."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a text, b bytea, c bytea[], d jsonb)")
        connection.execute("INSERT INTO t (b) VALUES (%s)", (SECRET,))
        connection.execute("INSERT INTO t (c) VALUES (%s)", ([b"\0" + SECRET],))
    with Wiretap(redis_url) as wiretap, redis.Redis.from_url(redis_url) as client:
        client.lpush("gone", in_a_message(SECRET))
        client.delete("gone")
        client.hset("hash", "field", SECRET)

    places = {
        "database": database_as_bytes(database_url),
        "redis": redis_as_bytes(redis_url),
        "commands": wiretap.heard,
    }
    assert leaks(places, {"token": SECRET}) == [f"token in {place}" for place in sorted(places)]
    assert b"gone" in wiretap.heard
    assert b"gone" not in places["redis"]
