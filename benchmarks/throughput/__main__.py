"""How many refreshes a second two workers carry, as a share of Celery's own bound on the same machine.

    python -m benchmarks.throughput [--rounds 3] [--messages 12000] [--threads 8] [--workers 2]

Messages are published beforehand; each contender empties its queue with the same broker, database and token
endpoint, in turn, round by round. The yardstick is unmodified Celery with a task that does nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import Any, Final
from uuid import UUID

import psutil
import redis
from celery import Celery

from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.deployment import ROOT, Deployment, opened, stop
from benchmarks.throughput.drain import Drained, watch
from tasks.names import REFRESH, REFRESH_TOKEN

RESULT: Final = ROOT / "benchmarks" / "results" / "throughput.json"
PROVIDER: Final = "bench"
#: A tutorial's worker is slow; so many messages and seconds say enough.
_TUTORIAL_MESSAGES: Final = 1500
_MOST_SECONDS: Final = 20.0
_STOCK_THREADS: Final = 8


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=12_000, help="of one drain (12000)")
    parser.add_argument("--threads", type=int, default=8, help="of one worker of ours (8)")
    parser.add_argument("--workers", type=int, default=2, help="processes of every contender (2)")
    parser.add_argument("--only", default="", help="contenders, comma-separated; the result is not written")
    given = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-throughput-") as folder, opened(Path(folder)) as made:
        contest = Contest(made, given.messages, given.threads, given.workers)
        wanted = given.only.split(",") if given.only else list(contest.contenders)
        rounds: list[dict[str, Any]] = []
        for number in range(given.rounds):
            for name in wanted:
                drained = contest.contenders[name]().as_json()
                rounds.append({"round": number + 1, "contender": name, **drained})
                print(rounds[-1], file=sys.stderr, flush=True)
    result = {
        "command": f"python -m benchmarks.throughput --rounds {given.rounds} --messages {given.messages}"
        f" --threads {given.threads} --workers {given.workers}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "rounds": rounds,
        "medians": compared(rounds),
    }
    if not given.only:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["medians"], indent=2))


#: Starts a contender's workers.
Start = Callable[[], "list[Popen[bytes]]"]


class Contest:
    """The contenders of one run, on one deployment."""

    def __init__(self, deployment: Deployment, messages: int, threads: int, workers: int) -> None:
        self._made = deployment
        self._messages = messages
        self._threads = threads
        self._workers = workers
        self._url, self._endpoint = deployment.endpoint()
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

    def _stock(self, more: dict[str, str]) -> Drained:
        app = Celery("stock", broker=self._broker)
        self._publish(app, "stock.nothing", "stock", self._messages, lambda one: {"connection_id": str(one)})
        return self._drain("stock", self._messages, self._celery("benchmarks.throughput.stock", more))

    def _tutorial(self) -> Drained:
        store.make_due(self._postgres)
        app = Celery("tutorial", broker=self._broker)
        count = min(_TUTORIAL_MESSAGES, self._messages)
        url = f"{self._url}/token"
        self._publish(
            app, "tutorial.refresh", "tutorial", count,
            lambda one: {"connection_id": str(one), "token_url": url},
        )  # fmt: skip
        return self._drain("tutorial", count, self._celery("benchmarks.throughput.tutorial"))

    def _ours(self) -> Drained:
        store.make_due(self._postgres)
        app = Celery("ours", broker=self._broker)
        # As `tasks.bulk` writes them.
        self._publish(
            app, REFRESH_TOKEN, REFRESH, self._messages,
            lambda one: {"connection_id": str(one), "provider_id": PROVIDER, "scheduled": True},
        )  # fmt: skip

        def start() -> list[Popen[bytes]]:
            return [
                self._made.worker(f"bulk-{number}", "refresh,health", self._threads)
                for number in range(1, self._workers + 1)
            ]

        drained = self._drain(REFRESH, self._messages, start)
        left = self._made.servers.query("SELECT count(*) FROM tokens WHERE refresh_due_at < now()")[0][0]
        print(f"refreshed: {self._messages - int(str(left))} of {self._messages}", file=sys.stderr)
        return drained

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
        self, app: Celery, task: str, queue: str, count: int, kwargs: Callable[[UUID], dict[str, object]]
    ) -> None:
        with app.producer_or_acquire() as producer, producer.batch(1000):
            for connection_id in self._ids[:count]:
                app.send_task(
                    task, kwargs=kwargs(connection_id), queue=queue, producer=producer,
                    argsrepr="()", kwargsrepr="{}", ignore_result=True,
                )  # fmt: skip
        app.close()

    def _drain(self, queue: str, count: int, start: Start) -> Drained:
        workers = start()
        groups = {
            "workers": [psutil.Process(worker.pid) for worker in workers],
            "postgres": self._made.server_processes("postgres"),
            "redis": self._made.server_processes("redis"),
            "endpoint": [psutil.Process(self._endpoint.pid)],
        }
        try:
            return watch(self._redis, queue, count, groups, at_most=_MOST_SECONDS)
        finally:
            for worker in workers:
                stop(worker)
            self._redis.flushdb()


def compared(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each contender's median rate, processor time, and ratio to the no-op of the same round."""
    noop = {one["round"]: one["per_second"] for one in rounds if one["contender"] == "stock_noop"}
    found = {}
    for name in dict.fromkeys(one["contender"] for one in rounds):
        own = [one for one in rounds if one["contender"] == name]
        found[name] = {
            "per_second": median(one["per_second"] for one in own),
            "ratio_to_stock_noop": round(
                median(one["per_second"] / noop[one["round"]] for one in own if one["round"] in noop), 3
            )
            if noop
            else None,
            "cpu_ms": {
                group: round(median(one["cpu_ms"][group] for one in own), 3) for group in own[0]["cpu_ms"]
            },
        }
    return found


if __name__ == "__main__":
    main()
