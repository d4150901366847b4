"""Single interleavings that once broke a promise, each in as few moves as it takes."""

from __future__ import annotations

from datetime import timedelta

from domain.asks import RefreshAsk
from domain.token import Status
from tests.protocol.judge import Rare
from tests.protocol.provider import Kind
from tests.protocol.workers import Point, Worker
from tests.protocol.world import SCHEDULED, ProtocolWorld


def until(worker: Worker, point: Point | None, ask: RefreshAsk = SCHEDULED) -> None:
    """Move a worker until this is its next move; begin it if it is idle."""
    if worker.idle:
        worker.begin(ask)
    while worker.point is not point:
        worker.move()


def wait_until_due(world: ProtocolWorld) -> None:
    state = world.store.row.state
    world.pass_until(state.refresh_due_at, state.not_before, state.lease_until)


def doubt(world: ProtocolWorld, finder: Worker) -> None:
    """The lease runs out, somebody finds it, and the time of the recovery comes."""
    world.pass_until(world.store.row.state.lease_until)
    until(finder, None)
    assert world.store.row.state.status is Status.IN_DOUBT
    wait_until_due(world)


def test_a_worker_that_was_slow_to_send_and_killed_leaves_a_provider_that_settles() -> None:
    """The settling time counts from the latest moment at which it can have sent, not from its claim."""
    world = ProtocolWorld(Kind.FREE)
    doomed, other, _ = world.workers
    until(doomed, Point.CHECK)
    world.pass_time(timedelta(seconds=24))
    until(doomed, Point.WAIT)
    world.kill(doomed)

    doubt(world, other)
    until(other, Point.WAIT)

    world.let_run()
    assert world.judge.counts[Rare.RECOVERED] == 1


def test_a_recovery_is_claimed_as_it_was_read() -> None:
    """Between a look at a doubt and its claim, another recovery has begun, and its worker was killed."""
    world = ProtocolWorld(Kind.FREE)
    first, stopped, doomed = world.workers
    until(first, Point.WAIT)
    world.kill(first)
    doubt(world, stopped)
    until(stopped, Point.RECOVER)
    until(doomed, Point.WAIT)
    world.kill(doomed)
    world.pass_until(world.store.row.state.lease_until)

    stopped.move()

    assert world.provider.under_way() != []
    assert stopped.point is not Point.CHECK
    world.let_run()
