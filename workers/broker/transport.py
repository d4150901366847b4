"""kombu's Redis transport with our channels, and the connection class that chooses it."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu import connection as kombu
from kombu.transport import redis

from workers.broker.channel import Channel
from workers.broker.poller import Poller


class Transport(redis.Transport):
    """Redis, taken from in batches. On the wire it is kombu's own: both may work on the same queues."""

    Channel = Channel
    cycle: Poller  # type: ignore[assignment]  # kombu declares another class than its own Redis transport has

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - kombu publishes no types
        super().__init__(*arguments, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ANN401 - kombu publishes no types
        """Let the loop give the turns. kombu's own checks stay on its timer."""
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)
        # kombu's tick tells the poller of every socket again, each time.
        for added in loop.on_tick - before:
            loop.on_tick.discard(added)
        self.cycle.join(loop, self.on_readable)


class Connection(kombu.Connection):
    """A connection that uses our transport where kombu would use its own for redis:// or rediss://.

    The URL keeps its meaning, TLS included, and is what logs and Flower show. Other schemes, sentinel://
    among them, keep kombu's transports.
    """

    def get_transport_cls(self) -> Any:  # noqa: ANN401 - a transport class of kombu's
        """Give the class of the transport."""
        chosen = super().get_transport_cls()
        return Transport if chosen is redis.Transport else chosen


class BatchingAMQP(AMQP):
    """What a Celery app makes its connections with: `Celery(amqp=BatchingAMQP)`."""

    Connection = Connection
