"""Rounds: the same number of tokens made due in each store, and a tick of each, in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import UUID

from benchmarks.scheduling.stores import Cost, Store
from services.scheduling import Work

#: Tokens that each tick finds due.
DUE: Final = 1000
#: Rows of the large store that are read before a tick that should find nothing in Postgres' own buffers,
#: which hold 16,384 pages.
_OTHERS: Final = 40_000

Choose = Callable[[Store, int], list[UUID]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which tokens are due, and in which state the stores are then.

    Attributes:
        choose: Gives the rows of a store in a turn.
        dead: So many tokens were refreshed since the last tick: their old entries lie before what is due.
        cold: The large store's rows are not in Postgres' own buffers; the small one's are.
    """

    name: str
    work: Work
    choose: Choose
    dead: int = 0
    cold: bool = False


def _of(providers: int) -> Choose:
    return lambda store, turn: store.spread(DUE, providers=providers, turn=turn)


def scenarios(dead: int) -> tuple[Scenario, ...]:
    """Return them all; `dead`: tokens that were refreshed before a tick of the last one, as after a pause."""
    return (
        Scenario("one_provider", Work.REFRESH, _of(1)),
        Scenario("four_providers", Work.REFRESH, _of(4)),
        Scenario("four_providers_cold", Work.REFRESH, _of(4), cold=True),
        Scenario("side_by_side", Work.REFRESH, lambda store, turn: store.adjacent(DUE, turn=turn)),
        Scenario("checks", Work.HEALTH, _of(4)),
        # As many were refreshed since the last tick as are due now: what goes on all day.
        Scenario("just_refreshed", Work.REFRESH, _of(4), dead=DUE),
        Scenario("dead_entries", Work.REFRESH, _of(4), dead=dead),
    )


def run(scenario: Scenario, small: Store, large: Store, rounds: int) -> dict[str, Any]:
    """Measure so many rounds and compare the stores."""
    costs: dict[int, list[Cost]] = {small.stored: [], large.stored: []}
    backend = {store.stored: 0.0 for store in (small, large)}
    for turn in range(rounds):
        rows = {store.stored: scenario.choose(store, turn) for store in (small, large)}
        for store in (small, large):
            _prepare(scenario, store, rows[store.stored], turn)
        if scenario.cold:
            large.read(min(_OTHERS, large.stored), turn=turn)
            small.read(small.stored, turn=turn)
        for store in (small, large) if turn % 2 else (large, small):
            before = store.backend_cpu()
            costs[store.stored].append(store.tick(scenario.work, DUE))
            backend[store.stored] += store.backend_cpu() - before
        for store in (small, large):
            store.put_off(rows[store.stored], scenario.work)
    found = _compared(costs, backend, small, large)
    print(scenario.name, found, file=sys.stderr, flush=True)
    return found


def _prepare(scenario: Scenario, store: Store, rows: Sequence[UUID], turn: int) -> None:
    if scenario.dead:
        refreshed = store.spread(min(scenario.dead, store.stored), providers=4, turn=turn + 1)
        store.make_due(refreshed, scenario.work)
        store.put_off(refreshed, scenario.work)
    store.make_due(rows, scenario.work)


def _compared(
    costs: dict[int, list[Cost]], backend: dict[int, float], small: Store, large: Store
) -> dict[str, Any]:
    stores = {
        str(stored): {
            "ms": _rounded(median(one.milliseconds for one in own)),
            "least_ms": _rounded(min(one.milliseconds for one in own)),
            "most_ms": _rounded(max(one.milliseconds for one in own)),
            "own_cpu_ms": _rounded(median(one.own_cpu_ms for one in own)),
            "postgres_cpu_ms": _rounded(backend[stored] / len(own) * 1000),
            "wal_bytes": round(median(one.wal_bytes for one in own)),
        }
        for stored, own in costs.items()
    }
    pairs = list(zip(costs[small.stored], costs[large.stored], strict=True))
    cpu = {
        stored: backend[stored] * 1000 + sum(one.own_cpu_ms for one in own) for stored, own in costs.items()
    }
    return {
        "stored": stores,
        # Of the two ticks of one round; the median over all rounds.
        "ratio": _rounded(median(big.milliseconds / little.milliseconds for little, big in pairs)),
        "cpu_ratio": _rounded(cpu[large.stored] / cpu[small.stored]),
    }


def _rounded(number: float) -> float:
    return round(number, 3)
