"""Celery's events, as somebody sees them who watches a worker of this project's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.acceptance.deployment import CHECKOUT
from tests.support.waiting import eventually
from tests.tasks.noop_worker import QUEUE, make_app

pytestmark = pytest.mark.servers


class Watcher:
    """Collects what a worker publishes of its tasks, message by message."""

    def __init__(self, redis_url: str) -> None:
        self.publications = 0
        self.seen: Counter[str] = Counter()
        self._client = redis.Redis.from_url(redis_url)
        self._listening = self._client.pubsub()  # type: ignore[no-untyped-call]  # redis-py gives no type
        self._listening.psubscribe("*celeryev/task.*")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopping = threading.Event()

    def _run(self) -> None:
        while not self._stopping.is_set():
            message: Any = self._listening.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                envelope = json.loads(message["data"])
                self.publications += 1
                self.seen.update(event["type"] for event in json.loads(b64decode(envelope["body"])))

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()


@contextmanager
def worker(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "NOOP_REDIS_URL": redis_url, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen([sys.executable, "-m", "tests.tasks.noop_worker"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_every_event_is_seen_and_many_at_once(redis_url: str) -> None:
    """Each task is seen received, started and succeeded, also those that a stopping worker still finishes."""
    app = make_app(redis_url)
    with Watcher(redis_url) as watcher, worker(redis_url) as process:
        for _ in range(200):
            app.send_task("noop.wait", (0,), queue=QUEUE)
        eventually(lambda: watcher.seen["task-succeeded"] == 200)
        assert watcher.publications < 200

        for _ in range(4):
            app.send_task("noop.wait", (1,), queue=QUEUE)
        eventually(lambda: watcher.seen["task-started"] == 204)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        eventually(lambda: watcher.seen["task-succeeded"] == 204)

    assert watcher.seen == {"task-received": 204, "task-started": 204, "task-succeeded": 204}
