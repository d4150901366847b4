"""The contenders, each with its queue, its workers, and the same messages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from subprocess import Popen
from typing import Final
from uuid import UUID

import psutil
import redis
from celery import Celery

from benchmarks.load import store
from benchmarks.load.deployment import Deployment, await_true, stop
from benchmarks.throughput.drain import Drained, watch
from tasks.names import HEALTH, REFRESH, REFRESH_TOKEN

PROVIDER: Final = "bench"
#: A tutorial's worker is slow; so many messages and seconds say enough.
_TUTORIAL_MESSAGES: Final = 1500
_MOST_SECONDS: Final = 20.0
_STOCK_THREADS: Final = 8
#: Pieces of work, each twice as many messages as there are slots, before a slow endpoint's drain is measured.
_WARM_PIECES: Final = 12
#: An endpoint as slow as real ones: log-normal, by median and 99th percentile, in milliseconds.
SLOW: Final = (200.0, 1000.0)
#: Starts a contender's workers.
Start = Callable[[], "list[Popen[bytes]]"]


class Contest:
    """The contenders of one run, on one deployment."""

    def __init__(
        self, deployment: Deployment, messages: int, threads: int, workers: int, *, slow: bool = False
    ) -> None:
        """Start an endpoint, and fill the store.

        Args:
            messages: Of one drain, and tokens in the store.
            threads: Of one worker of ours; workers: processes of every contender.
            slow: The endpoint takes its time.
        """
        self._made = deployment
        self._messages = messages
        self._threads = threads
        self._workers = workers
        self._slow = slow
        latency = ("--p50-ms", f"{SLOW[0]:g}", "--p99-ms", f"{SLOW[1]:g}") if slow else ()
        self._url, self._endpoint = deployment.endpoint(*latency)
        deployment.define({PROVIDER: self._url}, lifetime=3600, more="max_concurrency = 200")
        deployment.migrate()
        self._postgres = deployment.servers.postgres.url
        self._broker = deployment.servers.redis.url
        self._redis = redis.Redis.from_url(self._broker)
        self._ids = store.fill(
            self._postgres, deployment.keys, [PROVIDER], messages,
            lifetime=timedelta(hours=1), due_in=timedelta(minutes=-1),
        )  # fmt: skip
        self.contenders: dict[str, Callable[[], Drained]] = {
            "stock_noop": lambda: self._stock({"EVERGRANT_BENCH_SAFE": "1"}),
            "stock_noop_defaults": lambda: self._stock({}),
            "evergrant": self._ours,
            "tutorial": self._tutorial,
        }
        if slow:
            self.contenders = {"sleeper": self._sleeper, "evergrant": self._ours}

    def _stock(self, more: dict[str, str]) -> Drained:
        app = Celery("stock", broker=self._broker)
        self._publish(app, "stock.nothing", "stock", self._ids, lambda one: {"connection_id": str(one)})
        return self._drain("stock", self._messages, self._celery("benchmarks.throughput.stock", more))

    def _tutorial(self) -> Drained:
        store.make_due(self._postgres)
        app = Celery("tutorial", broker=self._broker)
        count = min(_TUTORIAL_MESSAGES, self._messages)
        url = f"{self._url}/token"
        self._publish(
            app, "tutorial.refresh", "tutorial", self._ids[:count],
            lambda one: {"connection_id": str(one), "token_url": url},
        )  # fmt: skip
        return self._drain("tutorial", count, self._celery("benchmarks.throughput.tutorial"))

    def _ours(self) -> Drained:
        store.make_due(self._postgres)
        app = Celery("ours", broker=self._broker)
        # A provider's share of a worker has to grow first, call by call; what finds no slot is thrown back.
        piece = 2 * self._threads * self._workers
        warming = _WARM_PIECES * piece if self._slow else 0

        def publish(ids: list[UUID]) -> None:
            # As `tasks.bulk` writes them.
            self._publish(
                app, REFRESH_TOKEN, REFRESH, ids,
                lambda one: {"connection_id": str(one), "provider_id": PROVIDER, "scheduled": True},
            )  # fmt: skip

        def start() -> list[Popen[bytes]]:
            workers = [
                self._made.worker(f"bulk-{number}", "refresh,health", self._threads)
                for number in range(1, self._workers + 1)
            ]
            for begin in range(0, warming, piece):
                publish(self._ids[begin : begin + piece])
                await_true(lambda: self._redis.llen(REFRESH) == 0, 60, "the workers take no messages")
            if warming:
                publish(self._ids[warming:])
            return workers

        if not warming:
            publish(self._ids)
        return self._drain(REFRESH, self._messages - warming, start, self._made.refreshed)

    def _sleeper(self) -> Drained:
        app = Celery("sleeper", broker=self._broker)
        self._publish(app, "sleeper.wait", HEALTH, self._ids, lambda one: {"connection_id": str(one)})
        latency = {"EVERGRANT_BENCH_P50_MS": f"{SLOW[0]:g}", "EVERGRANT_BENCH_P99_MS": f"{SLOW[1]:g}"}

        def start() -> list[Popen[bytes]]:
            return [
                self._made.run(
                    [sys.executable, "-m", "benchmarks.throughput.sleeper", f"sleeper-{number}",
                     str(self._threads)],
                    name=f"sleeper-{number}",
                    environment={**self._made.environment, **latency},
                )
                for number in range(self._workers)
            ]  # fmt: skip

        return self._drain(HEALTH, self._messages, start)

    def _celery(self, module: str, more: dict[str, str] | None = None) -> Start:
        """Return what starts the contender's workers, as a tutorial starts them."""

        def start() -> list[Popen[bytes]]:
            return [
                self._made.run(
                    [sys.executable, "-m", "celery", "-A", module, "worker", "-P", "threads",
                     "-c", str(_STOCK_THREADS), "-n", f"w{number}@%h", "--loglevel", "WARNING"],
                    name=f"{module}-{number}",
                    environment={**self._made.environment, **(more or {})},
                )
                for number in range(self._workers)
            ]  # fmt: skip

        return start

    def _publish(
        self, app: Celery, task: str, queue: str, ids: list[UUID], kwargs: Callable[[UUID], dict[str, object]]
    ) -> None:
        with app.producer_or_acquire() as producer, producer.batch(1000):
            for connection_id in ids:
                app.send_task(
                    task, kwargs=kwargs(connection_id), queue=queue, producer=producer,
                    argsrepr="()", kwargsrepr="{}", ignore_result=True,
                )  # fmt: skip
        app.close()

    def _drain(self, queue: str, count: int, start: Start, done: Callable[[], int] | None = None) -> Drained:
        workers = start()
        groups = {
            "workers": [psutil.Process(worker.pid) for worker in workers],
            "postgres": self._made.server_processes("postgres"),
            "redis": self._made.server_processes("redis"),
            "endpoint": [psutil.Process(self._endpoint.pid)],
        }
        try:
            return watch(self._redis, queue, count, groups, at_most=_MOST_SECONDS, done=done)
        finally:
            for worker in workers:
                stop(worker)
            self._redis.flushdb()
