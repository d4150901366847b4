"""How many bulk messages one process publishes a second, beside Celery's own way of sending them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final
from uuid import uuid4

from celery import Celery

from services.scheduling import BATCH, Work
from storage.tokens.due import DueToken
from tasks.bulk import BulkQueue
from tasks.names import REFRESH, REFRESH_TOKEN

#: Messages of one round of each contender.
_MESSAGES: Final = 5000


def measure(app: Celery, rounds: int) -> dict[str, Any]:
    """Publish in turn as the scheduler does, and by `apply_async` in pipelines as large."""
    due = [DueToken(uuid4(), "p0", datetime.now(UTC), timedelta()) for _ in range(_MESSAGES)]
    contenders = {"evergrant": _ours, "apply_async": _celery}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, publish in contenders.items():
            began, used = time.perf_counter(), time.process_time()
            publish(app, due)
            rates[name].append(len(due) / (time.perf_counter() - began))
            cpu[name].append((time.process_time() - used) / len(due) * 1000)
            _empty(app)
    return {
        "messages_of_a_round": _MESSAGES,
        "per_second": {name: round(median(own)) for name, own in rates.items()},
        "cpu_ms_of_a_message": {name: round(median(own), 4) for name, own in cpu.items()},
        "ratio": round(
            median(a / b for a, b in zip(rates["evergrant"], rates["apply_async"], strict=True)), 2
        ),
    }


def _ours(app: Celery, due: list[DueToken]) -> None:
    queue = BulkQueue(app, Work.REFRESH)
    for start in range(0, len(due), BATCH):
        queue.publish(due[start : start + BATCH])


def _celery(app: Celery, due: list[DueToken]) -> None:
    task = app.tasks[REFRESH_TOKEN]
    for start in range(0, len(due), BATCH):
        with app.producer_or_acquire() as producer, producer.batch(1000):
            for token in due[start : start + BATCH]:
                task.apply_async(
                    kwargs={
                        "connection_id": str(token.connection_id),
                        "provider_id": token.provider_id,
                        "scheduled": True,
                    },
                    queue=REFRESH,
                    producer=producer,
                    argsrepr="()",
                    kwargsrepr=f"{{'connection_id': '{token.connection_id}'}}",
                )


def _empty(app: Celery) -> None:
    with app.connection_or_acquire() as connection:
        connection.default_channel.queue_purge(REFRESH)
