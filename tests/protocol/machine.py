"""The search: every move, in every order, of three workers, a provider, a user and time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from domain.asks import RefreshAsk
from tests.protocol.mutants import Mutant
from tests.protocol.provider import Fate, Kind
from tests.protocol.workers import Point, Worker
from tests.protocol.world import SCHEDULED, SECOND, ProtocolWorld

T = TypeVar("T")
ASKS: Final = (SCHEDULED, RefreshAsk(), RefreshAsk(force=True))
#: Picks one of those to whom a move is open, however many they are.
ANY: Final = st.integers(0, 5)
#: What goes wrong goes wrong now and then.
MISHAP: Final = st.sampled_from((False, False, False, True))


class Until(StrEnum):
    """How much time passes: to the instants at which something becomes possible, and just before."""

    MOMENT = "a moment"
    SLOW = "as long as the check before the send allows"
    LEASE = "the lease is over"
    DUE = "the row is due"
    CALL = "just before a provider must have come to an end with a call"


class User(StrEnum):
    """What the user does."""

    RECONNECT = "connects anew"
    DISCONNECT = "disconnects"
    REVOKE = "takes the grant back at the provider"


#: Where a worker may be stopped that has taken up what was due: mostly not before it waits for its answer.
STOPS: Final = st.sampled_from((Point.WAIT, Point.WAIT, Point.RECOVER, Point.CHECK, Point.SEND))
#: Users mostly leave things alone.
USER: Final = (None, None, None, *User)


def one_of(candidates: Sequence[T], number: int) -> T:
    return candidates[number % len(candidates)]


class ProtocolMachine(RuleBasedStateMachine):
    """A violation is raised by the move that brings it about, or by letting everything come to its end."""

    kinds: ClassVar[tuple[Kind, ...]] = tuple(Kind)
    mutants: ClassVar[frozenset[Mutant]] = frozenset()
    world: ProtocolWorld

    @initialize(number=st.integers(0, 9))
    def open(self, number: int) -> None:
        self.world = ProtocolWorld(one_of(self.kinds, number), self.mutants)

    @property
    def idle(self) -> list[Worker]:
        return [worker for worker in self.world.workers if worker.idle]

    @property
    def working(self) -> list[Worker]:
        return [worker for worker in self.world.workers if not worker.idle]

    @precondition(lambda self: self.idle)
    @rule(number=ANY, ask=st.sampled_from(ASKS))
    def begin(self, number: int, ask: RefreshAsk) -> None:
        one_of(self.idle, number).begin(ask)

    @precondition(lambda self: self.working)
    @rule(number=ANY, mishap=MISHAP)
    def move(self, number: int, mishap: bool) -> None:
        one_of(self.working, number).move(mishap=mishap)

    @precondition(lambda self: self.working)
    @rule(number=ANY, slow=MISHAP)
    def go_on(self, number: int, slow: bool) -> None:
        """A worker that nothing stops, though it may be slow: as far as the next answer, or the end."""
        if slow:
            self.wait(Until.SLOW)
        self._go_on(one_of(self.working, number))

    def _go_on(self, worker: Worker, *stops: Point) -> None:
        worker.move()
        while worker.point not in {None, Point.WAIT, *stops}:
            worker.move()

    @precondition(lambda self: self.idle)
    @rule(number=ANY, stop=STOPS)
    def tick(self, number: int, stop: Point) -> None:
        """Time passes until the scheduler sends the row out again, and somebody takes it up."""
        world, state = self.world, self.world.store.row.state
        world.pass_until(state.refresh_due_at, state.not_before, state.lease_until)
        worker = one_of(self.idle, number)
        worker.begin(SCHEDULED)
        self._go_on(worker, stop)

    @precondition(lambda self: self.world.provider.under_way())
    @rule(number=ANY, fate=st.sampled_from(Fate))
    def answer(self, number: int, fate: Fate) -> None:
        provider = self.world.provider
        provider.end(one_of(provider.under_way(), number), fate)

    @precondition(lambda self: self.working)
    @rule(number=ANY)
    def kill(self, number: int) -> None:
        self.world.kill(one_of(self.working, number))

    @rule(until=st.sampled_from(Until))
    def wait(self, until: Until) -> None:
        world, state = self.world, self.world.store.row.state
        timing = world.provider.timing
        match until:
            case Until.MOMENT:
                world.pass_time(SECOND)
            case Until.SLOW:
                world.pass_time(timing.lease - timing.deadline - SECOND)
            case Until.LEASE:
                world.pass_until(state.lease_until)
            case Until.DUE:
                world.pass_until(state.refresh_due_at, state.not_before)
            case Until.CALL:
                ends = [call.ends_by for call in world.provider.under_way()]
                world.pass_until(*(end - timedelta(seconds=2) for end in ends))

    @rule(act=st.sampled_from(USER))
    def live(self, act: User | None) -> None:
        match act:
            case User.RECONNECT:
                self.world.reconnect()
            case User.DISCONNECT:
                self.world.disconnect()
            case User.REVOKE:
                self.world.revoke()

    def teardown(self) -> None:
        if hasattr(self, "world") and not self.world.judge.broken:
            self.world.let_run()
