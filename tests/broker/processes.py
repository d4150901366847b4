"""Real workers on a real Redis, and an account of every message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import redis

from tests.acceptance.deployment import Running, bare_environment
from tests.broker.app import send, watched
from tests.support.waiting import eventually


class Works:
    """Workers of the watched app, started for a test and always stopped.

    Attributes:
        sent: The numbers of all tasks that were sent.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.app = watched(url)
        self.redis = redis.Redis.from_url(url)
        self.sent: set[int] = set()
        self._folder = folder
        self._workers: list[Running] = []

    def close(self) -> None:
        """End everything."""
        for worker in self._workers:
            worker.kill_group()
        self.app.close()
        self.redis.close()

    def send(self, count: int, **more: Any) -> set[int]:
        """Send tasks, each with a number of its own."""
        numbers = send(self.app, count, first=len(self.sent), **more)
        self.sent |= numbers
        return numbers

    def start(self, *options: str, threads: int = 8) -> Running:
        """Start a worker, and give it when it is ready."""
        name = f"worker-{len(self._workers)}"
        log = self._folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.broker.app", "--concurrency", str(threads), *options],
                env=bare_environment(TEST_REDIS_URL=self.url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Running(name, process, log)
        self._workers.append(worker)
        eventually(lambda: "ready" in worker.said(), what=f"{name} is ready")
        return worker

    def account(self) -> tuple[set[int], set[int], set[int]]:
        """Give the numbers that wait, that are unacknowledged, and that are done, of one moment."""
        with self.redis.pipeline() as together:
            together.lrange("refresh", 0, -1)
            together.lrange("health", 0, -1)
            together.hvals("unacked")
            together.smembers("done")
            refresh, health, unacked, done = together.execute()
        waiting = {_number(json.loads(text)) for text in refresh + health}
        unacknowledged = {_number(json.loads(text)[0]) for text in unacked}
        return waiting, unacknowledged, {int(number) for number in done}

    def done(self) -> set[int]:
        """Give the numbers of the tasks that are done; no message is missing at any look."""
        waiting, unacknowledged, done = self.account()
        assert waiting | unacknowledged | done == self.sent
        return done

    def await_all(self, *, seconds: float = 90) -> None:
        """Wait until all is done and acknowledged."""

        def over() -> bool:
            waiting, unacknowledged, _ = self.account()
            return self.done() == self.sent and not waiting and not unacknowledged

        eventually(over, seconds=seconds, what="everything is done and acknowledged")

    def runs(self) -> dict[int, int]:
        """Give how often each task ran."""
        return {number: int(self.redis.get(f"ran:{number}") or 0) for number in self.sent}


def stop(pid: int) -> None:
    """Freeze a process."""
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    """Thaw it."""
    os.kill(pid, signal.SIGCONT)


def _number(payload: dict[str, Any]) -> int:
    return int(json.loads(b64decode(payload["body"]))[1]["number"])
