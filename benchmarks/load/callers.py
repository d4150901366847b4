"""Callers in one process, who want tokens now: in the process by the service itself, or as another team does.

    python -m benchmarks.load.callers service|celery

Each line of standard input is an order (`Order`); each is answered by a line with what the callers met. All
instants are of the monotonic clock, which the processes of one machine share.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import redis
from celery import Celery

from domain.asks import RefreshAsk
from services.wiring import Services
from tasks.names import ON_DEMAND, REFRESH_TOKEN
from tasks.tokens import PATIENCE
from workers.cli import session

#: A caller who has heard nothing by then is counted as one who never will.
GIVE_UP: Final = 60.0
#: Threads of this process' pools: what an API process would have.
_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Order:
    """What the callers of one process are to do.

    Attributes:
        ids: Whose token; caller n wants number n, over and over from the start.
        callers: How many.
        at: When the first one asks.
        apart: Seconds between one and the next; 0: all at once.
        force: Whether a fresh token is refreshed all the same.
    """

    ids: list[str]
    callers: int
    at: float
    apart: float = 0.0
    force: bool = False

    def of(self, number: int) -> str:
        """Return whose token the caller wants."""
        return self.ids[number % len(self.ids)]

    def when(self, number: int) -> float:
        """Return when he asks."""
        return self.at + number * self.apart


@dataclass(frozen=True, slots=True)
class Heard:
    """What the callers met: how long each waited, in seconds, and how many had which outcome."""

    seconds: list[float]
    outcomes: dict[str, int]


def by_service(services: Services, order: Order) -> Heard:
    """Ask the service, each caller on a thread of his own."""
    seconds = [GIVE_UP] * order.callers
    outcomes: Counter[str] = Counter()
    ask = RefreshAsk(force=order.force)

    def call(number: int) -> None:
        _sleep_until(order.when(number))
        result = services.refresh.refresh(UUID(order.of(number)), ask, patience=PATIENCE)
        seconds[number] = time.monotonic() - order.when(number)
        outcomes[str(result.outcome)] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(order.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Heard(seconds, dict(outcomes))


def one_after_another(services: Services, order: Order) -> Heard:
    """Ask the service as fast as one caller can who waits for each answer."""
    seconds = []
    outcomes: Counter[str] = Counter()
    for number in range(order.callers):
        began = time.monotonic()
        result = services.refresh.refresh(UUID(order.of(number)), RefreshAsk(), patience=PATIENCE)
        seconds.append(time.monotonic() - began)
        outcomes[str(result.outcome)] += 1
    return Heard(seconds, dict(outcomes))


class ByCelery:
    """Sends tasks and listens for their results, as `AsyncResult.get` does, for many callers at once."""

    def __init__(self, url: str) -> None:
        self._app = Celery("callers", broker=url, backend=url)
        self._listening = redis.Redis.from_url(url).pubsub()  # type: ignore[no-untyped-call]  # redis-py
        self._listening.psubscribe("celery-task-meta-*")
        self._lock = threading.Condition()
        self._heard: dict[str, tuple[float, str]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self, order: Order) -> Heard:
        """Send each caller's task when his time has come, and wait for all results."""
        sent: dict[str, float] = {}
        for number in range(order.callers):
            _sleep_until(order.when(number))
            began = time.monotonic()
            kwargs = {"connection_id": order.of(number), "force": order.force}
            task = self._app.send_task(REFRESH_TOKEN, kwargs=kwargs, queue=ON_DEMAND, ignore_result=False)
            sent[task.id] = began
        with self._lock:
            self._lock.wait_for(lambda: sent.keys() <= self._heard.keys(), GIVE_UP)
            heard = {task: self._heard.pop(task, (sent[task] + GIVE_UP, "none")) for task in sent}
        return Heard(
            [heard[task][0] - began for task, began in sent.items()],
            dict(Counter(outcome for _, outcome in heard.values())),
        )

    def _listen(self) -> None:
        for message in self._listening.listen():
            if message["type"] != "pmessage":
                continue
            at, told = time.monotonic(), json.loads(message["data"])
            result = told["result"]
            with self._lock:
                self._heard[told["task_id"]] = (at, result.get("outcome", told["status"]))
                self._lock.notify_all()


def _sleep_until(instant: float) -> None:
    time.sleep(max(0.0, instant - time.monotonic()))


def _serve(carry_out: dict[str, Callable[[Order], Heard]]) -> None:
    """Carry out one order a line, until the end of input."""
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        words: dict[str, Any] = json.loads(line)
        heard = carry_out[words.pop("how")](Order(**words))
        sys.stdout.write(json.dumps({"seconds": heard.seconds, "outcomes": heard.outcomes}) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Serve orders."""
    if sys.argv[1:] == ["celery"]:
        _serve({"celery": ByCelery(os.environ["EVERGRANT_REDIS_URL"])})
        return
    with session.services("callers", threads=_THREADS) as services:
        # As a process does that presents: see `workers.cli.worker`.
        services.watch.start()
        services.sweeper.start()
        _serve(
            {
                "service": lambda order: by_service(services, order),
                "reading": lambda order: one_after_another(services, order),
            }
        )


if __name__ == "__main__":
    main()
