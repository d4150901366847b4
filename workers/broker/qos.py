"""What is delivered and unacknowledged on a channel, and how it is settled."""

from __future__ import annotations

from typing import Any, Final

import structlog
from kombu.transport import redis, virtual
from redis.exceptions import ResponseError

from workers.broker.refusals import code_of

log = structlog.get_logger(__name__)

#: Overdue messages that one look brings back.
_MOST_OVERDUE: Final = 200
#: Looks of one sweep. What is left after them is the next sweep's.
_LOOKS: Final = 50


def room_of(qos: Any, most: int) -> int:  # noqa: ANN401 - kombu publishes no types
    """Say how many messages may be taken now: what the prefetch leaves, and never more than `most`."""
    if not qos.can_consume():
        return 0
    if not qos.prefetch_count:
        return most
    if "can_consume" in vars(qos):
        # Celery counts its requests there before each message (`worker_disable_prefetch`).
        return 1
    unsettled = len(qos._delivered) - len(qos._dirty)  # noqa: SLF001 - as kombu counts them itself
    return int(min(most, qos.prefetch_count - unsettled))


def keep(qos: Any, message: Any) -> None:  # noqa: ANN401 - kombu publishes no types
    """Remember a message as delivered that stands in `unacked` already."""
    virtual.QoS.append(qos, message, message.delivery_tag)


class QoS(redis.QoS):
    """kombu's own, but acknowledgements are owed to the channel, and giving back is one atomic step."""

    channel: Any
    unacked_mutex_key: str
    unacked_mutex_expire: int
    visibility_timeout: float

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, with the channel's next call to Redis.

        Raises:
            redis.exceptions.RedisError: No event loop carries it, and it could not be sent now.
        """
        self.channel.owe(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it behind everything that waits in its queue.

        Raises:
            redis.exceptions.RedisError: It stays unacknowledged.
        """
        if requeue:
            self.restore_by_tag(delivery_tag, leftmost=True)
        else:
            self.channel.owe(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: str | bytes, client: Any = None, leftmost: bool = False) -> None:  # noqa: ANN401 - kombu publishes no types
        """Put one message back into its queue: before what waits there, or behind it."""
        del client
        self.channel.give_back([_text(tag)], leftmost=leftmost)

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ANN401 - kombu publishes no types
        """Put everything delivered and unacknowledged back to the front of its queue, in its old order.

        Raises:
            redis.exceptions.RedisError: What was not put back comes back after the visibility timeout.
        """
        del client
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        if tags:
            self.channel.give_back(tags)

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 10) -> None:
        """Put back what anybody, ours or not, has left unacknowledged for the visibility timeout.

        Told by Redis' clock. One process at a time looks.

        Args:
            start: Unused, as there is always a first one.
            num: At most so many; None means all.
            interval: Looks on every so manieth call.
        """
        del start
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        with self.channel.conn_or_acquire() as client:
            seconds, microseconds = client.time()
            latest = seconds + microseconds / 1e6 - self.visibility_timeout
            try:
                with redis.Mutex(client, self.unacked_mutex_key, self.unacked_mutex_expire):
                    self._restore_until(client, latest, num)
            except redis.MutexHeld:
                return
            except ResponseError as error:
                # Celery would end a starting worker for it, and workers empty a Redis without memory.
                log.warning("sweep_refused", code=code_of(error))

    def _restore_until(self, client: Any, latest: float, num: int | None) -> None:  # noqa: ANN401 - redis-py's client
        most = min(num or _MOST_OVERDUE, _MOST_OVERDUE)
        for _ in range(1 if num else _LOOKS):
            tags = client.zrange(self.unacked_index_key, "-inf", latest, byscore=True, offset=0, num=most)
            if tags:
                self.channel.give_back([_text(tag) for tag in tags])
            if len(tags) < most:
                return


def _text(tag: str | bytes) -> str:
    return tag if isinstance(tag, str) else tag.decode("utf-8", "surrogateescape")
