"""Single interleavings that once broke a promise, each in as few moves as it takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.asks import RefreshAsk
from domain.policy import PRESENTED_TWICE
from domain.token import ReauthReason, Status
from tests.protocol.judge import Rare, Violation, Wrong
from tests.protocol.mutants import Mutant
from tests.protocol.provider import Fate, Kind
from tests.protocol.workers import Point, Worker
from tests.protocol.world import SCHEDULED, ProtocolWorld

FORCED = RefreshAsk(force=True)


def until(worker: Worker, point: Point | None, ask: RefreshAsk = SCHEDULED) -> None:
    """Move a worker until this is its next move; begin it if it is idle."""
    if worker.idle:
        worker.begin(ask)
    while worker.point is not point:
        worker.move()


def doubt(world: ProtocolWorld, finder: Worker) -> None:
    """The lease runs out, somebody finds it, and the time of the recovery comes."""
    world.pass_until(world.store.row.state.lease_until)
    until(finder, None)
    assert world.store.row.state.status is Status.IN_DOUBT
    wait_until_due(world)


def wait_until_due(world: ProtocolWorld) -> None:
    state = world.store.row.state
    world.pass_until(state.refresh_due_at, state.not_before, state.lease_until)


def status_of(world: ProtocolWorld) -> Status:
    return world.store.row.state.status


def is_held_off(world: ProtocolWorld) -> bool:
    moment = world.store.row.state.not_before
    return moment is not None and moment > world.clock.now


def late_landing_during_a_recovery(world: ProtocolWorld) -> tuple[Worker, Worker, Worker]:
    """Stopped with the answer in its socket, the first comes back while the second presents the token."""
    first, second, third = world.workers
    until(first, Point.WAIT)
    doubt(world, third)
    until(second, Point.WAIT)
    until(first, None)
    assert world.store.row.state.version == 2
    return first, second, third


def slow_and_killed(world: ProtocolWorld) -> None:
    """Slow between claim and send, and killed: the provider works on while the doubt is recovered."""
    doomed, other, _ = world.workers
    until(doomed, Point.CHECK)
    world.pass_time(timedelta(seconds=24))
    until(doomed, Point.WAIT)
    world.kill(doomed)
    doubt(world, other)
    until(other, Point.WAIT)
    world.let_run()


def recovery_of_an_old_reading(world: ProtocolWorld) -> None:
    """Between the look at a doubt and its claim, another recovery has begun and its worker was killed."""
    first, stopped, doomed = world.workers
    until(first, Point.WAIT)
    world.kill(first)
    doubt(world, stopped)
    until(stopped, Point.RECOVER)
    until(doomed, Point.WAIT)
    world.kill(doomed)
    world.pass_until(world.store.row.state.lease_until)
    while not stopped.idle and stopped.point is not Point.WAIT:
        stopped.move()
    world.let_run()


def spare_beside_a_recovery(world: ProtocolWorld) -> None:
    """A late refusal promotes the spare while the refused token is being presented once more."""
    _, second, third = late_landing_during_a_recovery(world)
    world.provider.end(world.provider.under_way()[0], Fate.ANSWERED)
    until(second, None)
    assert len(world.store.spares) == 1
    refused, recovering = second, third
    wait_until_due(world)
    until(refused, Point.WAIT)
    doubt(world, recovering)
    until(recovering, Point.WAIT)
    until(refused, None)
    assert (world.store.spares, world.judge.counts[Rare.PROMOTED]) == ([], 1)
    until(world.workers[0], None if is_held_off(world) else Point.WAIT)
    world.let_run()


def refresh_beside_a_recovery(world: ProtocolWorld) -> None:
    """What landed late is refreshed by force as soon as the other's lease is over, and its call is not."""
    first, second, _ = world.workers
    until(first, Point.WAIT)
    doubt(world, second)
    until(second, Point.CHECK)
    until(first, None)
    world.pass_time(timedelta(seconds=24))
    until(second, Point.WAIT)
    world.kill(second)
    world.pass_time(timedelta(seconds=37))
    until(first, None if is_held_off(world) else Point.WAIT, FORCED)
    world.let_run()


@pytest.mark.parametrize("sound", [True, False], ids=["", "mutant"])
@pytest.mark.parametrize(
    ("history", "kind", "mutant"),
    [
        (slow_and_killed, Kind.FREE, Mutant.SETTLED_FROM_CLAIM),
        (recovery_of_an_old_reading, Kind.FREE, Mutant.RECOVERY_AS_FOUND),
        (spare_beside_a_recovery, Kind.FORKING, Mutant.RIVALS_IGNORED),
        (refresh_beside_a_recovery, Kind.FREE, Mutant.RIVALS_IGNORED),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_never_two_at_once(
    history: Callable[[ProtocolWorld], None], kind: Kind, mutant: Mutant, sound: bool
) -> None:
    """Two presentations of one grant are under way at once only without the safeguard against it."""
    if sound:
        history(ProtocolWorld(kind))
        return
    with pytest.raises(Violation) as found:
        history(ProtocolWorld(kind, frozenset({mutant})))
    assert found.value.kind is Wrong.CONCURRENT


def test_nobody_is_blamed_for_a_grant_that_a_recovery_killed() -> None:
    """The late answer lands in it, and its refusal is told as a rotation that was probably lost."""
    world = ProtocolWorld(Kind.STRICT)
    late_landing_during_a_recovery(world)
    assert world.store.row.state.last_error_code == PRESENTED_TWICE

    world.let_run()

    state = world.store.row.state
    assert (state.status, state.reauth_reason) == (
        Status.NEEDS_REAUTH,
        ReauthReason.ROTATION_PROBABLY_LOST,
    )
    assert world.judge.counts[Rare.ROTATION_LOST] == 1


def test_a_late_answer_raises_the_dead() -> None:
    """Declared dead for a refusal, the grant comes back with the answer that somebody still held."""
    world = ProtocolWorld(Kind.FORKING)
    first, second, third = world.workers
    until(first, Point.WAIT)
    doubt(world, third)
    world.revoke()
    until(second, Point.WAIT)
    world.provider.end(world.provider.under_way()[-1], Fate.ANSWERED)
    until(second, None)
    assert status_of(world) is Status.NEEDS_REAUTH

    until(first, None)

    assert status_of(world) is Status.ACTIVE
    assert world.judge.counts[Rare.RAISED_THE_DEAD] == 1


def test_a_recovery_may_be_overtaken_between_its_claim_and_its_send() -> None:
    """No statement lies between the two, so the answer that lands there comes too late to stop it."""
    world = ProtocolWorld(Kind.WINDOW)
    first, second, third = world.workers
    until(first, Point.WAIT)
    doubt(world, third)
    until(second, Point.SEND)
    until(first, None)

    until(second, None if second.idle else Point.WAIT)

    assert world.judge.counts[Rare.OVERTAKEN] == 1
    world.let_run()
    assert world.store.row.state.status is Status.ACTIVE
