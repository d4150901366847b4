"""Messages of one task in bulk: what Celery would send, without what it works out anew for each.

`Task.apply_async` spends about three quarters of its time on what is the same for every message of a batch:
signature, options, route, headers. Here Celery writes one message (task protocol 2), and the others differ
from it in id and arguments alone, so that to a worker, and in Flower, they are ordinary ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery
from kombu.messaging import Producer
from kombu.utils.uuid import uuid

#: What the serializer called ``json`` writes, the only one that our workers accept.
_CONTENT: Final = {"content_type": "application/json", "content_encoding": "utf-8"}
_PERSISTENT: Final = 2


class BulkMessages:
    """Sends messages of one task to one queue; made for one batch, by whoever sends it."""

    def __init__(self, app: Celery, task: str, queue: str) -> None:
        """Let Celery write the message that all others are made from.

        Args:
            task: A registered task's name.
            queue: One of the app's queues, of a direct exchange.
        """
        self._queue = app.amqp.queues[queue]
        self._retry_policy: dict[str, Any] = dict(app.conf.task_publish_retry_policy)
        # The tick that sends them, where a worker runs it: Flower tells it as their parent.
        tick = app.current_worker_task
        self._root = None if tick is None else tick.request.root_id or tick.request.id
        written = app.amqp.create_task_message(
            "",
            task,
            root_id=self._root,
            parent_id=None if tick is None else tick.request.id,
            ignore_result=app.tasks[task].ignore_result,
            argsrepr="()",
            kwargsrepr="{}",
        )
        self._headers: dict[str, Any] = written.headers
        self._properties: dict[str, Any] = written.properties
        arguments, _, self._embedded = written.body
        self._arguments = list(arguments)

    def declare(self, producer: Producer) -> None:
        """Make sure that the queue exists; asks the broker once a connection.

        Raises:
            kombu.exceptions.OperationalError: The broker does not answer.
        """
        producer.maybe_declare(self._queue, retry=True, **self._retry_policy)  # type: ignore[no-untyped-call]  # kombu has no types

    def send(self, producer: Producer, keywords: Mapping[str, object], *, shown: str) -> None:
        """Send one message; within `producer.batch` it is only kept for the next flush.

        Args:
            keywords: The task's keyword arguments: JSON values.
            shown: What Flower shows of them.
        """
        message_id = uuid()
        producer.publish(  # type: ignore[no-untyped-call]  # kombu has no types
            json.dumps((self._arguments, keywords, self._embedded)),
            exchange="",
            routing_key=self._queue.name,
            delivery_mode=_PERSISTENT,
            headers={
                **self._headers,
                "id": message_id,
                "root_id": self._root or message_id,
                "kwargsrepr": shown,
            },
            **{**self._properties, "correlation_id": message_id},
            **_CONTENT,
        )
