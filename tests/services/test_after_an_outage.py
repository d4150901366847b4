"""The end of an outage: eight hundred tokens are due, and one provider answers again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Event
from typing import Final

import pytest

from services.scheduling import Work
from services.wiring import Services
from storage.tokens.due import DueToken
from tests.services.test_scheduling import a_scheduler
from tests.services.world import SCHEDULED, Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

TOKENS: Final = 800
RATE: Final = 50
WORKERS: Final = 12
PACED: Final = f"""
[providers.paced]
display_name = "Paced"
grant = "refresh_token"
token_url = "{{url}}/strict/token"
rotation = "single_use"
replay_window = 0
max_requests_per_second = {RATE}
"""
APP: Final = {
    "EVERGRANT_PACED_CLIENT_ID": "sim-strict-client",
    "EVERGRANT_PACED_CLIENT_SECRET": "sim-strict-secret",
}


class Handing:
    """A bulk queue that threads take from."""

    def __init__(self) -> None:
        self.messages: SimpleQueue[DueToken] = SimpleQueue()

    def depth(self) -> int:
        return self.messages.qsize()

    def publish(self, due: Sequence[DueToken]) -> None:
        for token in due:
            self.messages.put(token)


def drain(world: World, processes: Sequence[Services], queue: Handing) -> None:
    """Tick, each process for itself, while their workers take what is published, until nothing is due."""
    schedulers, over = [a_scheduler(services) for services in processes], Event()

    def work(services: Services) -> None:
        while not over.is_set():
            try:
                due = queue.messages.get(timeout=0.1)
            except Empty:
                continue
            services.refresh.refresh(due.connection_id, SCHEDULED, provider_id="paced")

    def nothing_is_due() -> bool:
        # Ticks that come closer together than beat's count as one.
        for scheduler in schedulers:
            scheduler.tick(Work.REFRESH, queue)
        (row,) = world.rows("SELECT count(*) AS left FROM tokens WHERE refresh_due_at <= now()")
        return bool(row["left"] == 0)

    with ThreadPoolExecutor(WORKERS) as pool:
        done = [pool.submit(work, processes[number % len(processes)]) for number in range(WORKERS)]
        try:
            eventually(nothing_is_due, seconds=300, what="the backlog is drained")
        finally:
            over.set()
        for one in done:
            one.result()


def outage(world: World, tokens: Sequence[Connected]) -> None:
    """An hour's tokens that became due over the last seven minutes, at 75 to 85 % of their lives; the
    provider wanted to be left alone, and is to be asked again now."""
    world.update("refresh_due_at = now() - random() * interval '7 minutes'", *tokens)
    world.update("expires_at = refresh_due_at + (9 + 6 * random()) * interval '1 minute'", *tokens)
    world.update("issued_at = expires_at - interval '1 hour'", *tokens)
    world.sim.fault("status", dialect="strict", status=429, retry_after=300)
    world.refresh(tokens[0])
    assert len(world.holds()) == 1
    world.pass_hold()


def ranks(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0] * len(values)
    for rank, place in enumerate(order):
        found[place] = rank
    return found


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation."""
    squares = sum((a - b) ** 2 for a, b in zip(ranks(one), ranks(other), strict=True))
    return 1 - 6 * squares / (len(one) * (len(one) ** 2 - 1))


def test_a_backlog_drains_at_the_providers_pace_and_in_its_order(world: World) -> None:
    """By the provider's own log: in no stretch of time does it see more than its rate and one second's burst,
    although two schedulers publish as much each; whoever was due first comes first, which is nearly who
    expires first; nobody is presented twice, and nobody expires for it."""
    processes = [
        world.wire(more=PACED.format(url=world.simulator.base_url), environment=APP, threads=WORKERS * 2)
        for _ in range(2)
    ]
    world.services = processes[0]
    tokens = world.connect_many("strict", TOKENS, as_provider="paced")
    outage(world, tokens)
    # The one that was asked failed, and comes again when its backoff is over.
    waiting = tokens[1:]
    rows = {
        str(row["connection_id"]): row
        for row in world.rows("SELECT connection_id, refresh_due_at, expires_at FROM tokens")
    }
    world.sim.reset_counters()

    drain(world, processes, Handing())

    seen = {item["grant_id"]: item["started_at"] for item in world.sim.presentations(owner=world.owner)}
    began = [seen[item.grant.grant_id] for item in waiting]
    log = sorted(began)
    for first in range(0, len(log), 7):
        for length in (0.2, 1.0, 3.0, 10.0):
            inside = bisect_right(log, log[first] + length) - first
            assert inside <= RATE * (length + 1), f"{inside} requests in {length} s"
    due = [rows[str(item.id)]["refresh_due_at"].timestamp() for item in waiting]
    expiry = [rows[str(item.id)]["expires_at"].timestamp() for item in waiting]
    # Due times are drawn from a tenth of the life, so expiries follow in their order within six minutes.
    assert correlation(due, began) > 0.98
    assert correlation(expiry, began) > 0.6
    assert all(at < until for at, until in zip(began, expiry, strict=True))
    report = world.sim.report(owner=world.owner)["total"]
    assert {name: report[name] for name in ("lapses", "reuse", "concurrent_presentations")} == {
        "lapses": 0, "reuse": 0, "concurrent_presentations": 0,
    }  # fmt: skip
    assert report["presentations"] == len(waiting)
