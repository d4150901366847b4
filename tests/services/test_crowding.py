"""What finds no slot goes back to the backlog, and the scheduler hears of it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from pydantic import SecretStr
from redis import Redis

from domain.asks import Outcome
from services.admission import CONCURRENCY
from services.crowding import KEY, Crowding
from services.providers import ReadyProvider
from services.scheduling import Work
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
    crowding.crowded()
    return crowding


def room_for(crowding: Crowding, *scopes: Scope) -> list[int]:
    crowded = crowding.crowded()
    return [crowding.published_at_most(scope, crowded, ROOM) for scope in scopes]


def test_a_message_without_a_slot_is_marked_no_longer_and_told_of(world: World) -> None:
    """It goes back to the backlog at once, unpresented, and the counter of its provider says so."""
    world.sim.configure("google", latency=3000)
    slow = world.connect_many("gsc", 5)
    workers = [threading.Thread(target=world.refresh, args=(item,)) for item in slow[:4]]
    for worker in workers:
        worker.start()
    eventually(lambda: sum(world.grant(item)["under_way"] for item in slow) == 4)
    world.update("refresh_enqueued_until = now() + interval '30 seconds'", slow[4])

    result = world.refresh(slow[4])

    assert (result.outcome, result.code) == (Outcome.DEFERRED, CONCURRENCY)
    assert world.presented(slow[4]) == 0
    assert world.row(slow[4])["refresh_enqueued_until"] is None
    with Redis.from_url(world.redis_url) as redis:
        assert redis.hgetall(KEY) == {b"token:gsc": b"1"}
    for worker in workers:
        worker.join(30)


def test_of_what_is_turned_away_less_is_published(world: World, scheduler_side: Crowding) -> None:
    """Half as much of that provider, and as much as ever of the others."""
    crowded, other = scope_of(world, "gsc"), scope_of(world, "strict")
    before = room_for(scheduler_side, crowded, other)

    world.services.crowding.turned_away(crowded)

    assert before == [ROOM, ROOM]
    assert room_for(scheduler_side, crowded, other) == [ROOM // 2, ROOM]
    assert room_for(scheduler_side, crowded, other) == [76, ROOM]
    assert room_for(scheduler_side, crowded, other) == [ROOM, ROOM]


def test_checks_and_refreshes_are_crowded_each_on_their_own(world: World, scheduler_side: Crowding) -> None:
    """Checks go to another host: that it hangs says nothing of the token endpoint."""
    refreshes = scope_of(world, "gsc")
    checks = replace(refreshes, call=Call.CHECK)
    room_for(scheduler_side, refreshes, checks)

    world.services.crowding.turned_away(checks)

    assert room_for(scheduler_side, refreshes, checks) == [ROOM, ROOM // 2]


def test_a_flushed_or_absent_redis_costs_the_hint_and_nothing_else(
    world: World, scheduler_side: Crowding, clock: Clock, closed_url: str
) -> None:
    """Counters that begin anew are news as before; without Redis everything has its room."""
    scope = scope_of(world, "gsc")
    world.services.crowding.turned_away(scope)
    room_for(scheduler_side, scope)
    with Redis.from_url(world.redis_url) as redis:
        redis.flushdb()
    assert [room_for(scheduler_side, scope) for _ in range(2)][-1] == [ROOM]
    another = Crowding(SecretStr(world.redis_url))
    another.turned_away(scope)
    assert room_for(scheduler_side, scope) == [ROOM // 2]

    away = Crowding(SecretStr(closed_url.replace("http", "redis")), clock=clock)
    away.turned_away(scope)
    assert room_for(away, scope) == [ROOM]


def test_a_tick_publishes_what_workers_have_slots_for(world: World) -> None:
    """Eight are due and all are published; told that some were turned away, the next tick publishes half."""
    world.connect_many("gsc", 8)
    bystanders = {item.id for item in world.connect_many("strict", 8)}
    scheduler = a_scheduler(world.services)

    def tick() -> Queue:
        world.rows("UPDATE tokens SET refresh_enqueued_until = NULL RETURNING 1")
        queue = Queue()
        eventually(lambda: scheduler.tick(Work.REFRESH, queue).room)
        return queue

    first = tick()
    for _ in range(5):
        world.wire().crowding.turned_away(scope_of(world, "gsc"))
        last = tick()

    assert len(first.published) == 16
    assert len(last.published) < 16
    assert bystanders < set(last.ids)
