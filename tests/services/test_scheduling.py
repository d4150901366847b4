"""The scheduler and housekeeping: what is handed to the queues, in which order, and what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from kombu.exceptions import OperationalError

from domain.asks import Outcome
from domain.token import Status
from services.scheduling import LEAST_CAPACITY, Scheduler, Work
from services.wiring import Services
from storage.tokens.due import DueToken
from storage.tokens.store import TokenStore
from tests.services.world import Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


class Queue:
    """A bulk queue that remembers what was put into it."""

    def __init__(self, depth: int = 0, *, broken: bool = False) -> None:
        self._depth, self._broken = depth, broken
        self.published: list[DueToken] = []

    def depth(self) -> int:
        return self._depth

    def publish(self, due: Sequence[DueToken]) -> None:
        if self._broken:
            raise OperationalError("the broker is away")
        self.published += due

    @property
    def ids(self) -> list[UUID]:
        return [token.connection_id for token in self.published]


def tick(
    world: World, work: Work = Work.REFRESH, *, services: Services | None = None, depth: int = 0
) -> Queue:
    """One tick of a scheduler that has just started."""
    queue = Queue(depth)
    a_scheduler(services or world.services).tick(work, queue)
    return queue


def a_scheduler(services: Services) -> Scheduler:
    checks = services.checks
    return Scheduler(
        services.tokens,
        services.desk,
        checks._admission,
        services.guard,
        services.crowding,
        queue_seconds=3.0,
    )


def due_since(world: World, seconds: int, connected: Connected) -> Connected:
    world.update(f"refresh_due_at = now() - interval '{seconds} seconds'", connected)
    return connected


def test_the_longest_due_come_first_and_the_rest_wait(world: World) -> None:
    """In the order of urgency over all providers, as many as there is room for."""
    expected = [
        due_since(world, seconds, world.connect(provider_id))
        for seconds, provider_id in ((60, "gsc"), (55, "strict"), (50, "gsc"), (45, "strict"), (40, "window"))
    ]
    later = world.connect("bing")
    world.update("refresh_due_at = now() + interval '1 minute'", later)

    first = tick(world, depth=LEAST_CAPACITY - 4)
    second = tick(world)

    assert first.ids == [item.id for item in expected[:4]]
    assert second.ids == [expected[4].id]
    assert tick(world).ids == []
    assert all(token.lateness >= timedelta(seconds=40) for token in first.published)


def test_a_tick_that_has_found_all_does_not_look_again(world: World) -> None:
    """A second look would step over all that the first has marked, to find nothing."""
    world.connect_many("gsc", 3)
    looks: list[int] = []
    tokens = world.services.tokens

    class Counted:
        def pace(self, _work: str) -> float:
            return 0.0

        def mark_due_refreshes(self, limits: Mapping[str, int], **given: Any) -> list[DueToken]:
            looks.append(given["total"])
            return tokens.mark_due_refreshes(limits, **given)

    services = replace(world.services, tokens=cast("TokenStore", Counted()))

    assert len(tick(world, services=services).ids) == 3
    assert looks == [LEAST_CAPACITY]


def test_a_full_queue_takes_nothing(world: World) -> None:
    world.connect("gsc")

    assert tick(world, depth=LEAST_CAPACITY).ids == []
    assert len(tick(world).ids) == 1


def test_a_mark_runs_out(world: World) -> None:
    """A message that was lost with its queue is published again after half a minute."""
    connected = world.connect("gsc")

    assert tick(world).ids == [connected.id]
    assert tick(world).ids == []
    world.pass_time(timedelta(seconds=31), connected)
    assert tick(world).ids == [connected.id]


def test_two_schedulers_at_once_share_the_work(world: World) -> None:
    """No token is handed out twice, and together they hand out what there is room for."""
    many = world.connect_many("gsc", 150) + world.connect_many("strict", 150)
    services = [world.services, world.wire(), world.wire()]

    with ThreadPoolExecutor(3) as pool:
        queues = list(pool.map(lambda each: tick(world, services=each), services))

    handed = [connection_id for queue in queues for connection_id in queue.ids]
    assert len(handed) == len(set(handed))
    assert set(handed) <= {item.id for item in many}
    assert len(handed) == 300


def test_what_could_not_be_published_is_taken_up_by_the_next_tick(world: World) -> None:
    connected = world.connect("gsc")

    with pytest.raises(OperationalError):
        a_scheduler(world.services).tick(Work.REFRESH, Queue(broken=True))

    assert world.row(connected)["refresh_enqueued_until"] is None
    assert tick(world).ids == [connected.id]


def test_a_provider_that_is_held_gets_no_message_and_then_one(world: World) -> None:
    """The one is the probe; the others' tokens are handed out meanwhile."""
    held = world.connect_many("gsc", 5)
    other = world.connect("strict")
    world.sim.fault("status", dialect="google", status=429, retry_after=300)
    world.refresh(held[0])
    rest = {item.id for item in held[1:]}

    assert tick(world).ids == [other.id]
    world.pass_hold()
    world.update("refresh_enqueued_until = NULL", other)
    probed = eventually(lambda: rest & set(tick(world).ids), seconds=5)

    assert len(probed) == 1
    (probe,) = (item for item in held if item.id in probed)
    assert world.refresh(probe).outcome is Outcome.REFRESHED
    left = eventually(lambda: tick(world).ids, seconds=5)
    assert set(left) == rest - probed


def test_what_no_provider_can_be_called_for_waits_and_is_told(world: World) -> None:
    """One alert a provider, however often it is looked at; it ends when the credentials are there."""
    waiting = world.connect_many("strict", 3, as_provider="unconfigured")
    fine = world.connect("gsc")

    assert tick(world).ids == [fine.id]
    for _ in range(3):
        world.services.housekeeping.run()

    (alert,) = world.alerts()
    assert (alert["kind"], alert["provider_id"]) == ("provider_not_configured", "unconfigured")
    assert "EVERGRANT_UNCONFIGURED_CLIENT_ID" in alert["help"]
    mended = world.wire(
        environment={
            "EVERGRANT_UNCONFIGURED_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_UNCONFIGURED_CLIENT_SECRET": "sim-strict-secret",
        }
    )
    mended.housekeeping.run()
    assert world.alerts() == []
    assert [what for what, _ in world.events()] == ["opened", "resolved"]
    assert set(tick(world, services=mended).ids) == {item.id for item in waiting}
    assert world.refresh(waiting[0], services=mended).outcome is Outcome.REFRESHED


def test_an_alert_about_a_provider_ends_with_its_last_connection(world: World) -> None:
    """Nothing waits any more: the alert would never be resolved by anything else."""
    waiting = world.connect("strict", as_provider="unconfigured")
    world.services.housekeeping.run()
    assert world.alert_kinds() == ["provider_not_configured"]
    world.update("status = 'disconnected', refresh_due_at = NULL, check_due_at = NULL", waiting)

    world.services.housekeeping.run()

    assert world.alerts() == []


def test_a_killed_workers_token_is_found_by_the_scheduler(world: World) -> None:
    """While the lease lives it is not handed out; when it has lapsed it is, and becomes a doubt."""
    connected = world.connect("gsc")
    world.claim(connected)

    assert tick(world).ids == []
    world.pass_time(timedelta(seconds=41), connected)
    assert tick(world).ids == [connected.id]
    world.refresh(connected)

    assert world.row(connected)["status"] == Status.IN_DOUBT
    assert tick(world).ids == []
    world.pass_time(timedelta(seconds=46), connected)
    assert tick(world).ids == [connected.id]


def test_checks_are_handed_out_on_their_own(world: World) -> None:
    """Due checks go to the health queue alone, due refreshes to the other."""
    site = world.connect("wordpress")
    world.update("check_due_at = now() - interval '1 second'", site)
    token = world.connect("gsc")

    assert tick(world, Work.HEALTH).ids == [site.id]
    assert tick(world, Work.REFRESH).ids == [token.id]


def test_a_rate_bounds_what_is_handed_out(world: World) -> None:
    """A tick publishes no more of a provider than it may be asked for until the next."""
    services = world.wire(
        more="[providers.limited]\n" + LIMITED.format(url=world.simulator.base_url),
        environment={
            "EVERGRANT_LIMITED_CLIENT_ID": "sim-strict-client",
            "EVERGRANT_LIMITED_CLIENT_SECRET": "sim-strict-secret",
        },
    )
    world.services = services
    world.connect_many("strict", 10, as_provider="limited")

    assert len(tick(world).ids) == 3


LIMITED = """\
display_name = "Limited"
grant = "refresh_token"
token_url = "{url}/strict/token"
rotation = "single_use"
replay_window = 0
max_requests_per_second = 3
"""
