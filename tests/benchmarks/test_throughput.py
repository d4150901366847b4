"""How throughput is measured and compared."""

from __future__ import annotations

from typing import Any, cast

import redis

from benchmarks.throughput.__main__ import compared
from benchmarks.throughput.drain import watch


class Queue:
    """A queue from which a message goes with each look."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def llen(self, name: str) -> int:
        assert name == "refresh"
        self.depth -= 1
        return self.depth


def test_the_edges_of_a_drain_are_not_counted() -> None:
    """Of a hundred messages the first and the last ten are the workers' starting and running dry."""
    queue = Queue(100)

    drained = watch(cast("redis.Redis", queue), "refresh", 100, {"workers": []}, at_most=60)

    assert 75 <= drained.messages <= 80
    assert drained.cpu_ms == {"workers": 0.0}


def test_what_counts_is_what_was_done() -> None:
    """Messages that were thrown back have left the queue and are no refreshes."""
    done = iter((7, 27))

    drained = watch(cast("redis.Redis", Queue(100)), "refresh", 100, {}, at_most=60, done=lambda: next(done))

    assert drained.messages == 20


def test_ratios_are_of_the_same_round() -> None:
    """A round on a machine that others used is compared with itself alone."""

    def one(number: int, contender: str, per_second: float) -> dict[str, Any]:
        return {"round": number, "contender": contender, "per_second": per_second, "cpu_ms": {"workers": 1.0}}

    rounds = [one(1, "stock_noop", 1000), one(1, "evergrant", 700),
              one(2, "stock_noop", 100), one(2, "evergrant", 60),
              one(3, "stock_noop", 1000), one(3, "evergrant", 650)]  # fmt: skip

    found = compared(rounds, "stock_noop")

    assert found["evergrant"]["ratio_to_stock_noop"] == 0.65
    assert found["evergrant"]["per_second"] == 650
    assert found["stock_noop"]["ratio_to_stock_noop"] == 1.0
