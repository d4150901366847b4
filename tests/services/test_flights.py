"""Flights: nothing that a process presented before its settled time is ever unsettled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.refresh.flights import _SAMPLES, Flights

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """Ours, which only goes forward, and Postgres', which somebody may set."""

    def __init__(self) -> None:
        self.ours = 1000.0
        self.theirs = EPOCH

    def __call__(self) -> float:
        return self.ours

    def pass_time(self, seconds: float) -> None:
        self.ours += seconds
        self.theirs += timedelta(seconds=seconds)


@dataclass
class Presentation:
    """What a thread is about: nothing is stamped before its claim runs in Postgres."""

    context: AbstractContextManager[int]
    flight: int
    attempt: UUID = field(default_factory=uuid4)
    stamped: datetime | None = None
    ended: bool = False
    staged: bool = False


class Presenting(RuleBasedStateMachine):
    """Threads begin, are stamped, stage, end; a sweeper reports; somebody lands. In any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.flights = Flights(self.clock)
        self.all: list[Presentation] = []
        self.spool: set[UUID] = set()
        self.told: datetime | None = None
        #: A report computed and not written yet: claims may be stamped in between.
        self.computed: datetime | None = None
        #: A time of Postgres' that is on its way to us.
        self.on_its_way: datetime | None = None

    @initialize()
    def register(self) -> None:
        self.flights.note_time(self.clock.theirs)

    def unsettled(self) -> Iterator[Presentation]:
        return (item for item in self.all if not item.ended or item.attempt in self.spool)

    def one(self, data: st.DataObject, *, ended: bool = False, stamped: bool | None = None) -> Presentation:
        fitting = [
            item
            for item in self.all
            if item.ended == ended and (stamped is None or (item.stamped is not None) == stamped)
        ]
        return data.draw(st.sampled_from(fitting))

    @rule(seconds=st.sampled_from([0.0, 0.001, 2.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_time(seconds)

    @rule()
    def begin(self) -> None:
        context = self.flights.flight()
        self.all.append(Presentation(context, context.__enter__()))

    @precondition(lambda self: any(not item.ended and item.stamped is None for item in self.all))
    @rule(data=st.data())
    def claim_is_stamped(self, data: st.DataObject) -> None:
        # Any statement takes time.
        self.clock.pass_time(0.000001)
        self.one(data, stamped=False).stamped = self.clock.theirs

    @precondition(lambda self: any(not item.ended and item.stamped for item in self.all))
    @rule(data=st.data())
    def file_is_written(self, data: st.DataObject) -> None:
        item = self.one(data, stamped=True)
        item.staged = True
        self.spool.add(item.attempt)

    @precondition(lambda self: any(not item.ended for item in self.all))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        item = self.one(data)
        if item.staged:
            self.flights.staged(item.flight, item.attempt)
        item.context.__exit__(None, None, None)
        item.ended = True

    @precondition(lambda self: bool(self.spool))
    @rule(data=st.data())
    def somebody_lands(self, data: st.DataObject) -> None:
        # In the order of their beginning: that of random ids would make the same draws mean something else.
        lying = [item.attempt for item in self.all if item.attempt in self.spool]
        self.spool.discard(data.draw(st.sampled_from(lying)))

    @rule()
    def sweeper_looks(self) -> None:
        self.flights.still_staged(lambda: frozenset(self.spool))

    @rule()
    def report_is_computed(self) -> None:
        self.computed = self.flights.settled_until()

    @precondition(lambda self: self.computed is not None)
    @rule()
    def report_is_written(self) -> None:
        self.told, self.computed = self.computed, None
        self.on_its_way = self.clock.theirs

    @precondition(lambda self: self.on_its_way is not None)
    @rule()
    def time_is_received(self) -> None:
        assert self.on_its_way is not None
        self.flights.note_time(self.on_its_way)
        self.on_its_way = None

    @rule(number=st.sampled_from([1, _SAMPLES]))
    def many_reports(self, number: int) -> None:
        for _ in range(number):
            self.clock.pass_time(2)
            self.told = self.flights.settled_until()
            self.flights.note_time(self.clock.theirs)

    @invariant()
    def nothing_before_the_settled_time_is_unsettled(self) -> None:
        if self.told is None:
            return
        for item in self.unsettled():
            assert item.stamped is None or item.stamped >= self.told

    def teardown(self) -> None:
        for item in self.all:
            if not item.ended:
                item.context.__exit__(None, None, None)


TestPresenting = Presenting.TestCase
TestPresenting.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def reported(flights: Flights, clock: Clock) -> datetime | None:
    """One round of the sweeper."""
    told = flights.settled_until()
    flights.note_time(clock.theirs)
    return told


def test_nothing_is_told_before_the_first_time_is_known() -> None:
    """Without a time of Postgres' nothing can be said in it."""
    assert Flights().settled_until() is None


def test_an_idle_process_settles_up_to_its_last_report() -> None:
    """A doubt about an idle process is recovered after its next report or two."""
    clock = Clock()
    flights = Flights(clock)
    flights.note_time(clock.theirs)
    with flights.flight():
        clock.pass_time(1)
        stamped = clock.theirs
    clock.pass_time(1)
    reported(flights, clock)
    clock.pass_time(2)

    told = reported(flights, clock)

    assert told is not None
    assert told > stamped


def test_a_presentation_that_outlives_every_sample_holds_the_time() -> None:
    """However long it hangs, it is neither called settled nor does the process stop reporting."""
    clock = Clock()
    flights = Flights(clock)
    flights.note_time(clock.theirs)
    began = clock.theirs
    with flights.flight():
        for _ in range(3 * _SAMPLES):
            clock.pass_time(2)
            assert reported(flights, clock) == began
    clock.pass_time(2)
    told = reported(flights, clock)
    assert told is not None
    assert told > began


def test_a_clock_that_was_put_back_is_believed() -> None:
    """What began before we heard of it may be stamped earlier than what we had heard."""
    clock = Clock()
    flights = Flights(clock)
    flights.note_time(clock.theirs)
    clock.pass_time(2)
    reported(flights, clock)
    clock.theirs -= timedelta(minutes=5)
    with flights.flight():
        clock.pass_time(0.5)
        stamped = clock.theirs
        clock.pass_time(1.5)
        reported(flights, clock)
        clock.pass_time(2)

        told = reported(flights, clock)
        assert told is not None
        assert told <= stamped


def test_unsafe_is_told_at_once_and_once() -> None:
    """The first answer in memory alone is told, and the last one's end."""
    flights = Flights()
    heard: list[bool] = []
    flights.watch_unsafe(heard.append)

    with flights.unsafe():
        first = heard[-1]
        with flights.unsafe():
            assert flights.unsafe_now == 2
        one_left = heard[-1]
    assert (first, one_left, heard[-1]) == (True, True, False)
    assert (flights.unsafe_now, flights.ever_unsafe) == (0, 2)


def test_an_answer_that_is_staged_during_the_look_is_not_taken_for_landed() -> None:
    """The listing was made before its file was written; it does not settle anything."""
    clock = Clock()
    flights = Flights(clock)
    flights.note_time(clock.theirs)
    attempt = uuid4()
    clock.pass_time(1)
    with flights.flight() as flight:
        clock.pass_time(1)
        stamped = clock.theirs
        clock.pass_time(1)
        reported(flights, clock)

        def lying() -> frozenset[UUID]:
            flights.staged(flight, attempt)
            return frozenset()

        flights.staged(flight, uuid4())
        assert flights.still_staged(lying) == 1
    reported(flights, clock)
    clock.pass_time(2)

    told = reported(flights, clock)
    assert told is not None
    assert told <= stamped
    assert flights.still_staged(lambda: frozenset({attempt})) == 1
    assert flights.still_staged(frozenset) == 0
