"""The yardstick: unmodified Celery and kombu with a task that does nothing, or sleeps.

celery -A benchmarks.throughput.stock worker -P threads -c 8
"""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery("stock", broker=os.environ["EVERGRANT_REDIS_URL"])
app.conf.update(task_ignore_result=True, task_default_queue="stock", worker_hijack_root_logger=False)
if os.environ.get("EVERGRANT_BENCH_SAFE"):
    # What a worker needs whose tasks must not be lost, and whose work somebody wants to see.
    app.conf.update(
        task_acks_late=True, worker_prefetch_multiplier=1, worker_send_task_events=True,
        task_reject_on_worker_lost=True,
    )  # fmt: skip


@app.task(name="stock.nothing")  # type: ignore[untyped-decorator]  # Celery has no types
def nothing(connection_id: str) -> None:
    """Do nothing."""


@app.task(name="stock.sleep")  # type: ignore[untyped-decorator]  # Celery has no types
def sleep(connection_id: str, seconds: float) -> None:
    """Wait as a call of a provider would."""
    time.sleep(seconds)
