"""What finds no slot goes back to the backlog, and the scheduler hears of it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import pytest
from pydantic import SecretStr
from redis import Redis

from domain.asks import Outcome
from services.admission import CONCURRENCY
from services.crowding import KEY, Crowding
from services.providers import ReadyProvider
from services.scheduling import LEAST_CAPACITY, Work
from services.scopes import Call, Scope
from tests.services.test_scheduling import Queue, a_scheduler
from tests.services.world import World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

ROOM = 100


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def scope_of(world: World, provider_id: str) -> Scope:
    provider = world.services.desk.ready(provider_id)
    assert isinstance(provider, ReadyProvider)
    return provider.scope


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler_side(world: World, clock: Clock) -> Crowding:
    """A scheduler's, which has looked once."""
    crowding = Crowding(SecretStr(world.redis_url), clock=clock)
    for call in Call:
        crowding.crowded(call)
    return crowding


def room_for(crowding: Crowding, *scopes: Scope) -> list[int]:
    crowded = {name: times for call in Call for name, times in crowding.crowded(call).items()}
    return [crowding.published_at_most(scope, crowded, ROOM) for scope in scopes]


def turn_away(world: World, scope: Scope, times: int) -> None:
    """Let a worker turn so many messages away, and tell of all at once."""
    clock = Clock()
    worker = Crowding(SecretStr(world.redis_url), clock=clock)
    worker._tell_at = clock.now + 1
    for _ in range(times - 1):
        worker.turned_away(scope)
    clock.now += 1
    worker.turned_away(scope)
    worker.close()


def test_a_message_without_a_slot_is_marked_no_longer_and_told_of(world: World) -> None:
    """It goes back to the backlog at once, unpresented, and the counter of its provider says so."""
    world.sim.configure("google", latency=3000)
    slow = world.connect_many("gsc", 9)
    workers = [threading.Thread(target=world.refresh, args=(item,)) for item in slow[:8]]
    for worker in workers:
        worker.start()
    eventually(lambda: sum(world.grant(item)["under_way"] for item in slow) == 8)
    world.update("refresh_enqueued_until = now() + interval '30 seconds'", slow[8])

    result = world.refresh(slow[8])

    assert (result.outcome, result.code) == (Outcome.DEFERRED, CONCURRENCY)
    assert world.presented(slow[8]) == 0
    assert world.row(slow[8])["refresh_enqueued_until"] is None
    with Redis.from_url(world.redis_url) as redis:
        assert redis.hgetall(KEY) == {b"token:gsc": b"1"}
    for worker in workers:
        worker.join(30)


def test_of_what_is_turned_away_less_is_published(world: World, scheduler_side: Crowding) -> None:
    """Less of that provider by a quarter of what found no slot, and as much as ever of the others."""
    crowded, other = scope_of(world, "gsc"), scope_of(world, "strict")
    before = room_for(scheduler_side, crowded, other)

    turn_away(world, crowded, 80)

    assert before == [ROOM, ROOM]
    assert room_for(scheduler_side, crowded, other) == [80, ROOM]
    assert room_for(scheduler_side, crowded, other) == [89, ROOM]


def test_checks_and_refreshes_are_crowded_each_on_their_own(world: World, scheduler_side: Crowding) -> None:
    """Checks go to another host: that it hangs says nothing of the token endpoint."""
    refreshes = scope_of(world, "gsc")
    checks = replace(refreshes, call=Call.CHECK)
    room_for(scheduler_side, refreshes, checks)

    turn_away(world, checks, 80)

    assert room_for(scheduler_side, refreshes, checks) == [ROOM, 80]


def test_a_look_at_one_kind_hides_nothing_of_the_other(world: World, scheduler_side: Crowding) -> None:
    """Ticks of refreshes and of checks take turns: each hears of all that was turned away of its own kind."""
    scope = scope_of(world, "gsc")
    room_for(scheduler_side, scope)

    turn_away(world, scope, 80)
    assert scheduler_side.crowded(Call.CHECK) == {}

    assert room_for(scheduler_side, scope) == [80]


def test_a_full_queue_makes_no_allowance_small(world: World) -> None:
    """Ticks that had no room at all say nothing of how many slots there are, however many they were."""
    world.connect_many("gsc", 20)
    scheduler = a_scheduler(world.services)
    elapsed = itertools.count(0.0, 1.0)
    scheduler._clock = lambda: next(elapsed)

    def tick(depth: int) -> int:
        queue = Queue(depth)
        scheduler.tick(Work.REFRESH, queue)
        return len(queue.published)

    assert tick(LEAST_CAPACITY - 2) == 1
    for _ in range(12):
        assert tick(LEAST_CAPACITY) == 0
    turn_away(world, scope_of(world, "gsc"), 60)
    for _ in range(2):
        tick(LEAST_CAPACITY)
    world.rows("UPDATE tokens SET refresh_enqueued_until = NULL RETURNING 1")

    assert tick(0) == 20


def test_a_flushed_or_absent_redis_costs_the_hint_and_nothing_else(
    world: World, scheduler_side: Crowding, clock: Clock, closed_url: str
) -> None:
    """Counters that begin anew are news as before; without Redis everything has its room."""
    scope = scope_of(world, "gsc")
    turn_away(world, scope, 80)
    room_for(scheduler_side, scope)
    with Redis.from_url(world.redis_url) as redis:
        redis.flushdb()
    assert room_for(scheduler_side, scope) == [89]
    turn_away(world, scope, 60)
    assert room_for(scheduler_side, scope) == [74]

    away = Crowding(SecretStr(closed_url.replace("http", "redis")), clock=clock)
    away.turned_away(scope)
    assert room_for(away, scope) == [ROOM]


def test_a_tick_publishes_what_workers_have_slots_for(world: World) -> None:
    """All that is due is published; told that so many were turned away, the next tick publishes less."""
    world.connect_many("gsc", 8)
    bystanders = {item.id for item in world.connect_many("strict", 8)}
    scheduler = a_scheduler(world.services)

    def tick() -> Queue:
        world.rows("UPDATE tokens SET refresh_enqueued_until = NULL RETURNING 1")
        queue = Queue()
        eventually(lambda: scheduler.tick(Work.REFRESH, queue).room)
        return queue

    first = tick()
    turn_away(world, scope_of(world, "gsc"), 4 * 100)
    last = tick()

    assert len(first.published) == 16
    assert len(last.published) < 16
    assert bystanders < set(last.ids)
