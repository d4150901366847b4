"""The shelf in a real Redis: its index stays right, and a Redis that is half dead is away."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psutil
import pytest
import redis
from pydantic import SecretStr

from domain.errors import ServiceUnavailable
from storage.staging.envelope import Envelope, seal_answer
from storage.staging.shelf import Shelf
from tests.storage.making import a_sealer
from tests.storage.staged import ACCESS, OWNER, REFRESH, an_answer
from tests.support.servers import PATIENCE
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder

pytestmark = pytest.mark.servers
SEALER = a_sealer()
CALLS: dict[str, Callable[[Shelf], object]] = {
    "put": lambda shelf: shelf.put(an_envelope()),
    "remove": lambda shelf: shelf.remove(uuid4(), uuid4()),
    "connections": lambda shelf: shelf.connections(),
    "envelopes": lambda shelf: list(shelf.envelopes(uuid4())),
}


def an_envelope(connection_id: UUID | None = None) -> Envelope:
    return seal_answer(an_answer(connection_id=connection_id or uuid4()), OWNER, SEALER)


@pytest.fixture
def shelf(redis_url: str) -> Iterator[Shelf]:
    made = Shelf(SecretStr(redis_url))
    yield made
    made.close()


def test_what_was_put_is_there_until_it_is_removed(shelf: Shelf) -> None:
    """A connection is listed while it has an answer here; removing twice is as good as once."""
    first = an_envelope()
    second = an_envelope(first.connection_id)
    for envelope in (first, second, first):
        shelf.put(envelope)

    assert shelf.connections() == [first.connection_id]
    assert set(shelf.envelopes(first.connection_id)) == {first, second}
    for _ in range(2):
        shelf.remove(first.connection_id, first.attempt_id)
    assert list(shelf.envelopes(first.connection_id)) == [second]
    assert shelf.connections() == [first.connection_id]
    shelf.remove(second.connection_id, second.attempt_id)
    assert shelf.connections() == []


def test_nothing_of_a_token_is_in_redis(shelf: Shelf, redis_url: str) -> None:
    """Neither keys nor values hold a token in the clear."""
    shelf.put(an_envelope())

    with redis.Redis.from_url(redis_url) as client:
        kept = b"".join(key + client.dump(key) for key in client.scan_iter())
    for secret in (ACCESS, REFRESH, "very-secret"):
        assert secret.encode() not in kept


def test_the_index_stays_right_under_concurrency(shelf: Shelf, redis_url: str) -> None:
    """Eight threads put and remove answers of the same few connections: listed is who has something."""
    connections = [uuid4() for _ in range(3)]

    def work(number: int) -> Envelope | None:
        envelope = an_envelope(connections[number % 3])
        shelf.put(envelope)
        if number % 10 == 0:
            return envelope
        shelf.remove(envelope.connection_id, envelope.attempt_id)
        return None

    with ThreadPoolExecutor(8) as pool:
        kept = {envelope for envelope in pool.map(work, range(600)) if envelope is not None}
        assert {item for one in connections for item in shelf.envelopes(one)} == kept
        assert set(shelf.connections()) == set(connections)
        list(pool.map(lambda envelope: shelf.remove(envelope.connection_id, envelope.attempt_id), kept))

    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_foreign_content_keeps_nobody_else(shelf: Shelf, redis_url: str) -> None:
    """Damaged, misplaced and foreign entries are left alone, and the others are found."""
    good, moved = an_envelope(), an_envelope()
    shelf.put(good)
    with redis.Redis.from_url(redis_url) as client:
        client.sadd("evergrant:staged", "no id", b"\xff")
        key = f"evergrant:staged:{good.connection_id}"
        client.hset(key, mapping={b"\xff": b"\xff", str(uuid4()): b'{"format": 2}'})
        client.hset(key, str(moved.attempt_id), moved.encode())

    assert shelf.connections() == [good.connection_id]
    assert list(shelf.envelopes(good.connection_id)) == [good]


def test_a_forgetful_redis_is_no_failure(shelf: Shelf, redis_url: str) -> None:
    """Flushed, scripts included, it is empty, and takes copies again."""
    envelope = an_envelope()
    shelf.put(envelope)
    shelf.remove(uuid4(), uuid4())
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        client.script_flush()

    shelf.remove(envelope.connection_id, envelope.attempt_id)
    assert shelf.connections() == []
    shelf.put(envelope)
    assert shelf.connections() == [envelope.connection_id]


@pytest.fixture
def own_redis(data_folder: DataFolder) -> Iterator[tuple[EmbeddedRedis, Child]]:
    with claim_folder(data_folder.path) as claimed:
        server = EmbeddedRedis(data_folder)
        server.prepare()
        child = Child.start(server.spec(), claimed)
        try:
            server.wait_ready(PATIENCE)
            yield server, child
        finally:
            psutil.Process(child.pid).send_signal(signal.SIGCONT)
            child.stop()


def test_a_frozen_redis_is_away_within_a_second(own_redis: tuple[EmbeddedRedis, Child]) -> None:
    """Every call gives up in time, over an open connection and over a new one; thawed, it is back."""
    server, child = own_redis
    used, fresh = Shelf(SecretStr(server.url)), Shelf(SecretStr(server.url))
    assert used.connections() == []
    process = psutil.Process(child.pid)
    process.suspend()
    eventually(lambda: process.status() == psutil.STATUS_STOPPED, what="Redis is frozen")

    for shelf in (used, fresh):
        for name, call in CALLS.items():
            began = time.monotonic()
            with pytest.raises(ServiceUnavailable):
                call(shelf)
            # A second of patience, and what a busy machine adds.
            assert time.monotonic() - began < 1.8, name

    process.resume()
    for shelf in (used, fresh):
        for call in CALLS.values():
            call(shelf)
        shelf.close()


@pytest.mark.parametrize("name", CALLS)
def test_a_redis_that_is_not_there_is_away(closed_port: int, name: str) -> None:
    """Nobody listens: said at once, and without the password."""
    shelf = Shelf(SecretStr(f"redis://:top-secret@127.0.0.1:{closed_port}/0"))

    with pytest.raises(ServiceUnavailable) as caught:
        CALLS[name](shelf)

    assert "top-secret" not in str(caught.value)
    shelf.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
