"""One drain: messages that were published beforehand, and how fast workers empty the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import psutil
import redis

from benchmarks.load.cpu import used

#: The first and the last part of the messages are not counted: workers are starting, or running dry.
EDGE: Final = 0.1
_LOOK_SECONDS: Final = 0.02
_STALLED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What one drain came to.

    Attributes:
        messages: Done in the middle of the drain: tokens committed, or messages that left the queue.
        per_second: Of these.
        cpu_ms: Processor time for each of these, by group of processes.
    """

    messages: int
    seconds: float
    per_second: float
    cpu_ms: dict[str, float]

    def as_json(self) -> dict[str, object]:
        """Return it rounded, for a result file."""
        shown = asdict(self)
        return {
            **shown,
            "seconds": round(self.seconds, 2),
            "per_second": round(self.per_second, 1),
            "cpu_ms": {name: round(spent, 3) for name, spent in self.cpu_ms.items()},
        }


def watch(
    client: redis.Redis,
    queue: str,
    published: int,
    groups: Mapping[str, Sequence[psutil.Process]],
    *,
    at_most: float,
    done: Callable[[], int] | None = None,
) -> Drained:
    """Watch the queue being emptied; return after its middle part, or after `at_most` seconds of it.

    Args:
        done: How much has been done so far; None: what has left the queue.

    Raises:
        SystemExit: Nothing left the queue for a minute.
    """
    _until(client, queue, int(published * (1 - EDGE)))
    counted = done or (lambda: published - _depth(client, queue))
    began, before, first = time.monotonic(), used(groups), counted()
    last = int(published * EDGE)
    while _depth(client, queue) > last and time.monotonic() - began < at_most:
        time.sleep(_LOOK_SECONDS)
    seconds, spent = time.monotonic() - began, used(groups).since(before)
    messages = counted() - first
    return Drained(
        messages, seconds, messages / seconds, {name: cpu / messages * 1000 for name, cpu in spent.items()}
    )


def _until(client: redis.Redis, queue: str, depth: int) -> None:
    deadline = time.monotonic() + _STALLED_SECONDS
    while _depth(client, queue) > depth:
        if time.monotonic() >= deadline:
            raise SystemExit(f"nobody empties the queue {queue}")
        time.sleep(_LOOK_SECONDS)


def _depth(client: redis.Redis, queue: str) -> int:
    return int(client.llen(queue))
