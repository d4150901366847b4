"""An app with the settings of ours and a task to watch; run as a module it is a worker."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import redis
from celery import Celery
from pydantic import SecretStr

from services.settings import Settings
from services.wiring import Servers
from workers.celery_app import make_app

WORK = "test.work"


def watched(url: str) -> Celery:
    """Give the app. Its messages are overdue after three seconds, and a hung Redis is noticed after two."""
    app = make_app(Settings(), Servers(SecretStr("postgresql://nowhere"), SecretStr(url), SecretStr("none")))
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": 3,
        "unacked_restore_interval": 1,
        "socket_timeout": 2,
    }
    client = redis.Redis.from_url(url, retry_on_error=[redis.ConnectionError, redis.TimeoutError])

    def work(number: int, gated: bool = False) -> None:
        """Wait for the gate where there is one, and tell that it is done."""
        told = False
        while not told:
            try:
                while gated and not client.exists("gate"):
                    time.sleep(0.01)
                with client.pipeline() as together:
                    together.incr(f"ran:{number}")
                    together.sadd("done", number)
                    together.execute()
                told = True
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.05)

    # Not shared: another app of the same process would get it too.
    app.task(name=WORK, shared=False)(work)
    return app


def send(app: Celery, count: int, *, first: int = 0, queue: str = "refresh", **more: Any) -> set[int]:
    """Send tasks that hold a number each, and give the numbers."""
    numbers = range(first, first + count)
    with app.producer_or_acquire() as producer, producer.batch(1000):
        for number in numbers:
            app.send_task(WORK, kwargs={"number": number, **more}, queue=queue, producer=producer)
    return set(numbers)


if __name__ == "__main__":
    watched(os.environ["TEST_REDIS_URL"]).worker_main(
        ["worker", "--queues", "refresh,health", "--hostname", "watched@%h", "--loglevel", "info",
         "--without-gossip", "--without-mingle", *sys.argv[1:]]
    )  # fmt: skip
