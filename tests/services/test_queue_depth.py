"""How deep the scheduler keeps a bulk queue: workers never wait, and no long queue decides the order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from services.scheduling import LEAST_CAPACITY, Scheduler, Work
from storage.tokens.due import DueToken

DUE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUEUE_SECONDS = 3.0


@dataclass
class Play:
    """One second after the other: due tokens, a tick by one of several control workers, and bulk workers."""

    workers_per_second: int
    due: dict[str, int]
    ended: list[int] = field(default_factory=list)
    queued: list[DueToken] = field(default_factory=list)
    now: float = 0.0

    def scheduler(self) -> Scheduler:
        desk = SimpleNamespace(callable_providers=lambda: [_provider(name) for name in self.due])
        admission = SimpleNamespace(held=dict)
        guard = SimpleNamespace(withholds=lambda _facts: False)
        crowding = SimpleNamespace(
            crowded=lambda _call: {}, published_at_most=lambda _scope, _crowded, room: room
        )
        parts = cast("Any", (self, desk, admission, guard, crowding))
        return Scheduler(*parts, queue_seconds=QUEUE_SECONDS, clock=lambda: self.now)

    # The token store, as the scheduler uses it.

    def mark_due_refreshes(self, limits: Mapping[str, int], *, total: int, **_: object) -> list[DueToken]:
        marked: list[DueToken] = []
        for name, limit in limits.items():
            count = min(limit, self.due[name], total - len(marked))
            self.due[name] -= count
            marked += [DueToken(UUID(int=0), name, DUE, timedelta(0))] * count
        return marked

    def pace(self, _work: str) -> float:
        lately = self.ended[-3:]
        return sum(lately) / max(1, len(lately))

    # The queue.

    def depth(self) -> int:
        return len(self.queued)

    def publish(self, due: Sequence[DueToken]) -> None:
        self.queued += due

    def second(self, scheduler: Scheduler) -> list[DueToken]:
        """Tick, and let the workers work for a second; return what they took."""
        scheduler.tick(Work.REFRESH, self)
        taken, self.queued = (
            self.queued[: self.workers_per_second],
            self.queued[self.workers_per_second :],
        )
        self.ended.append(len(taken))
        self.now += 1.0
        return taken


def _provider(name: str) -> SimpleNamespace:
    scope = SimpleNamespace(key=name, max_per_second=None, whole=None)
    return SimpleNamespace(definition=SimpleNamespace(id=name), facts=None, has_tenants=False, scope=scope)


@pytest.mark.parametrize("control_workers", [1, 2, 8])
@pytest.mark.parametrize("per_second", [50, 600, 2000])
def test_workers_never_wait_for_one_providers_backlog(per_second: int, control_workers: int) -> None:
    """A few ticks after a cold start, whatever they can do and whoever of several control workers ticks."""
    play = Play(per_second, {"only": 1_000_000})
    schedulers = [play.scheduler() for _ in range(control_workers)]
    dice = random.Random(1)

    depths = []
    for _ in range(30):
        play.second(dice.choice(schedulers))
        depths.append(len(play.queued))

    assert play.ended[6:] == [per_second] * 24
    assert max(depths) <= max(LEAST_CAPACITY, QUEUE_SECONDS * per_second)


def test_a_large_backlog_leaves_room_for_the_others() -> None:
    """Where one provider is far behind, what becomes due at another one is taken within two ticks."""
    play = Play(400, {"behind": 1_000_000, "other": 0})
    scheduler = play.scheduler()
    for _ in range(10):
        play.second(scheduler)

    play.due["other"] = 100
    taken = [token.provider_id for _ in range(3) for token in play.second(scheduler)]

    assert taken.count("other") == 100


def test_what_becomes_due_within_the_workers_pace_is_published_at_once() -> None:
    """A burst of three times the usual leaves nothing due after two ticks."""
    play = Play(600, {"only": 0})
    scheduler = play.scheduler()
    for _ in range(10):
        play.due["only"] += 200
        play.second(scheduler)
    assert play.due["only"] == 0

    play.due["only"] += 600
    play.second(scheduler)
    play.second(scheduler)

    assert play.due["only"] == 0
