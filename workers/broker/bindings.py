"""Queues that are bound already stay usable where Redis refuses writes."""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis
from redis.exceptions import ResponseError

from workers.broker.refusals import code_of

log = structlog.get_logger(__name__)


class KeptBindings(redis.Channel):
    """A channel that does not insist on writing down again what stands in Redis.

    Celery binds every queue when a worker connects. A Redis without memory refuses that, which would end the
    worker, and nobody would empty the queues.
    """

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as error:
            # Broadcasts do not go by the table.
            broadcast = self.typeof(exchange).type == "fanout"
            if not broadcast and (routing_key or "", pattern or "", queue or "") not in self._bound(exchange):
                raise
            log.warning("binding_kept", queue=queue, code=code_of(error))

    def _size(self, queue: str) -> int:
        # Asked whenever a queue is declared. Without memory Redis refuses whatever stands in a transaction.
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as together:
            for step in self.priority_steps:
                together.llen(self._q_for_pri(queue, step))
            return sum(together.execute())

    def _bound(self, exchange: str) -> list[Any]:
        return list(self.get_table(exchange))
