"""The yardstick: unmodified Celery and kombu with a task that does nothing, or sleeps.

celery -A benchmarks.throughput.stock worker -P threads -c 8
"""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery("stock", broker=os.environ["EVERGRANT_REDIS_URL"])
app.conf.update(task_ignore_result=True, task_default_queue="stock", worker_hijack_root_logger=False)


@app.task(name="stock.nothing")  # type: ignore[untyped-decorator]  # Celery has no types
def nothing(connection_id: str) -> None:
    """Do nothing."""


@app.task(name="stock.sleep")  # type: ignore[untyped-decorator]  # Celery has no types
def sleep(connection_id: str, seconds: float) -> None:
    """Wait as a call of a provider would."""
    time.sleep(seconds)
