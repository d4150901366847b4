"""A broker seen from both sides: stock kombu and ours on the same queues, and what Redis holds of them."""

from __future__ import annotations

import itertools
import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

import redis
from kombu.connection import Connection as StockConnection
from kombu.entity import Exchange, Queue

from workers.broker.transport import Connection

EXCHANGE = Exchange("work", type="direct")
STEPS = (0, 3, 6, 9)
#: Overdue as soon as they are taken; tests that sweep say so.
OPTIONS = {"visibility_timeout": 3600, "unacked_restore_throttle": 1, "socket_timeout": 5}
STOCK: Callable[..., Any] = StockConnection
OURS: Callable[..., Any] = Connection


def queue(name: str) -> Queue:
    """Give a durable queue of the tests' exchange."""
    return Queue(name, exchange=EXCHANGE, routing_key=name)


class Broker:
    """One Redis database.

    Attributes:
        redis: Sees everything, over a connection of its own.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.options = {**OPTIONS, **options}
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self._numbers = itertools.count()
        self._open: list[Any] = []

    def connect(self, kind: Callable[..., Any]) -> Any:
        """Connect as stock kombu or as ours; `close` ends it."""
        connection = kind(self.url, transport_options=self.options)
        self._open.append(connection)
        return connection

    def bytes(self) -> redis.Redis:
        """Give a client that decodes nothing."""
        return redis.Redis.from_url(self.url)

    def close(self) -> None:
        """End every connection."""
        for connection in self._open:
            connection.release()
        self.redis.close()

    def publish(
        self, name: str, count: int, *, kind: Callable[..., Any] = STOCK, priority: int = 0
    ) -> list[int]:
        """Publish messages that hold a number each, and give the numbers."""
        numbers = [next(self._numbers) for _ in range(count)]
        with kind(self.url, transport_options=self.options) as connection, connection.Producer() as producer:
            for number in numbers:
                producer.publish(
                    number, exchange=EXCHANGE, routing_key=name, declare=[queue(name)], priority=priority
                )
        return numbers

    def waiting(self, name: str) -> list[int]:
        """Give the numbers that wait in a queue, the next one first, the most urgent priority first."""
        items: list[str] = []
        for step in STEPS:
            key = f"{name}\x06\x16{step}" if step else name
            items += map(str, reversed(self.redis.lrange(key, 0, -1)))
        return [number_in(json.loads(item)) for item in items]

    def unacknowledged(self) -> list[int]:
        """Give the numbers in `unacked`, in order; both of kombu's records of them agree."""
        with self.redis.pipeline() as together:
            together.hgetall("unacked")
            together.zrange("unacked_index", 0, -1)
            entries, tags = together.execute()
        assert set(entries) == set(tags)
        return sorted(number_in(json.loads(entry)[0]) for entry in entries.values())

    def aside(self) -> list[str]:
        """Give what was set aside, the newest first."""
        return [str(text) for text in self.redis.lrange("unreadable_messages", 0, -1)]


def number_in(payload: dict[str, Any]) -> int:
    """Give the number that a message holds."""
    body = payload["body"]
    return int(json.loads(b64decode(body)))


class Consumer:
    """Somebody who consumes, and keeps what it was delivered until it is told what to do with it."""

    def __init__(
        self,
        broker: Broker,
        kind: Callable[..., Any],
        names: Sequence[str],
        *,
        prefetch: int = 0,
        no_ack: bool = False,
    ) -> None:
        self.connection = broker.connect(kind)
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, prefetch, False)
        self.got: list[Any] = []
        self.numbers: list[int] = []
        self._consumer = self.connection.Consumer(
            [queue(name) for name in names], channel=self.channel, on_message=self._keep, no_ack=no_ack
        )
        self._consumer.consume()

    def _keep(self, message: Any) -> None:
        self.got.append(message)
        self.numbers.append(message.decode())

    def drain(self, count: int, *, seconds: float = 30) -> list[int]:
        """Wait until so many were delivered in all, and give their numbers in order."""
        while len(self.numbers) < count:
            self.connection.drain_events(timeout=seconds)
        return self.numbers

    def turn(self, *, look: bool = True) -> list[int]:
        """Take as an event loop does, once, and give the numbers of all deliveries so far."""
        self.channel.turn(look=look)
        return self.numbers
