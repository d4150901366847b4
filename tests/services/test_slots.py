"""The books of who holds this process' threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import cast

from services.admission import Admission, Denied
from services.breakers import Breakers
from services.scopes import Scope
from services.slots import Slots
from tests.support.waiting import eventually


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def held(slots: Slots, provider: str, count: int, most: int | None = None) -> list[int]:
    """Ask so often; the slots that were had."""
    return [slot for slot in (slots.take(provider, most) for _ in range(count)) if slot is not None]


def made_busy(slots: Slots, clock: Clock, provider: str, *, seconds: float, times: int) -> None:
    """Let the provider use all that it may have: whenever a call ends after this time, others begin."""
    taken = held(slots, provider, 16)
    for _ in range(times):
        clock.now += seconds
        for slot in taken[:]:
            slots.give_back(provider, slot)
            taken.remove(slot)
            taken += held(slots, provider, 2)
    clock.now += seconds
    for slot in taken:
        slots.give_back(provider, slot)


def test_a_provider_that_answers_gets_nearly_all_threads() -> None:
    """Fourteen of sixteen, and the other two are another provider's at once."""
    clock = Clock()
    slots = Slots(16, moment=0.0, clock=clock)
    made_busy(slots, clock, "big", seconds=0.2, times=9)

    assert len(held(slots, "big", 16)) == 14
    assert len(held(slots, "other", 2)) == 2


def test_bursts_let_a_prompt_provider_grow() -> None:
    """Ticks publish once a second; what a burst does not find is turned away before the first call ends."""
    clock = Clock()
    slots = Slots(16, moment=0.0, clock=clock)
    for _ in range(5):
        burst = held(slots, "big", 35)
        clock.now += 0.2
        for slot in burst:
            slots.give_back("big", slot)
        clock.now += 0.8

    assert len(held(slots, "big", 35)) == 14


def test_a_provider_that_hangs_keeps_a_sliver() -> None:
    """What hung for fifteen seconds keeps two of sixteen threads, while others are at work."""
    clock = Clock()
    slots = Slots(16, moment=0.0, clock=clock)
    made_busy(slots, clock, "big", seconds=0.2, times=9)
    made_busy(slots, clock, "big", seconds=15.0, times=9)
    held(slots, "other", 4)

    assert len(held(slots, "big", 16)) == 2


def test_what_was_not_called_is_no_prompt_call() -> None:
    """Messages that the rate or a probe under way sends back make no room for calls that hang."""
    slots = Slots(16, moment=0.0, clock=(clock := Clock()))
    made_busy(slots, clock, "big", seconds=15.0, times=9)
    held(slots, "other", 4)

    for _ in range(100):
        for slot in held(slots, "big", 16):
            slots.give_back("big", slot, called=False)

    assert len(held(slots, "big", 16)) == 2


class Gates:
    """Breakers and a rate that let through what a test says."""

    def __init__(self) -> None:
        self.free = False

    def stopping(self, _scope: Scope) -> None:
        return None

    def probe(self, _scope: Scope) -> None:
        return None

    def give_back(self, _scope: Scope) -> None:
        return None

    def take(self, _scope: str, _per_second: float) -> bool:
        return self.free

    def has_room(self, _scope: str, _per_second: float) -> bool:
        return self.free

    def turn(self, _scope: str, _per_second: float) -> timedelta:
        return timedelta(0)


def test_whoever_is_denied_by_the_rate_has_called_nobody() -> None:
    """A provider that hangs and has a rate keeps the sliver that its calls have left it."""
    slots = Slots(16, moment=0.0, clock=(clock := Clock()))
    made_busy(slots, clock, "big", seconds=15.0, times=9)
    held(slots, "other", 4)
    gates = Gates()
    admission = Admission(cast("Breakers", gates), gates, slots)
    scope = Scope("key", "big", "big", "Big", max_per_second=1.0)

    for _ in range(100):
        # All that it may hold is in use at once.
        with admission.admit(scope) as first, admission.admit(scope) as second:
            assert (first, second) == (Denied("rate"), Denied("rate"))
    assert len(held(slots, "big", 16)) == 2


def test_calls_that_hang_are_seen_before_they_end() -> None:
    """Three began, and more may not while these hang; with others in their place they may."""
    clock = Clock()
    slots = Slots(16, moment=0.0, clock=clock)
    held(slots, "other", 4)
    hanging = held(slots, "big", 3)
    clock.now += 12.0

    assert held(slots, "big", 1) == []
    assert slots.held_by("big") == 3
    for slot in hanging:
        slots.give_back("big", slot)
    assert held(slots, "big", 1) != []


def test_a_quiet_process_gives_a_slow_provider_a_quarter() -> None:
    """Threads that nobody wants are lent, but never more than a quarter of all."""
    clock = Clock()
    slots = Slots(16, moment=0.0, clock=clock)
    made_busy(slots, clock, "slow", seconds=15.0, times=8)

    assert len(held(slots, "slow", 16)) == 4
    assert len(held(slots, "other", 16)) == 8, "its first share, not what was lent"


def test_the_definitions_bound_is_never_exceeded() -> None:
    """Not even where threads are free."""
    assert len(held(Slots(16, moment=0.0), "bounded", 16, most=3)) == 3


def test_a_slot_that_is_given_back_goes_to_the_one_who_waits() -> None:
    """A prompt provider's next message has the slot at once, without another turn through the queue."""
    slots = Slots(16, moment=60.0)
    first = held(slots, "big", 8)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(slots.take, "big", None)
        eventually(lambda: slots._of["big"].waiting == 1)
        slots.give_back("big", first.pop())

        assert waiter.result(30) is not None
    assert slots.held_by("big") == 8


def test_of_those_who_find_no_slot_few_wait() -> None:
    """Two of sixteen threads wait for a provider's next slot; whoever comes then is turned away."""
    slots = Slots(16, moment=60.0)
    taken = held(slots, "big", 8)
    with ThreadPoolExecutor(2) as pool:
        waiters = [pool.submit(slots.take, "big", None) for _ in range(2)]
        eventually(lambda: slots._of["big"].waiting == 2)

        assert slots.take("big", None) is None
        for slot in taken:
            slots.give_back("big", slot)
        assert all(waiter.result(30) is not None for waiter in waiters)


def test_nobody_waits_for_a_slot_that_hangs() -> None:
    """Where a call takes long already, the next message is turned away at once."""
    clock = Clock()
    slots = Slots(16, moment=60.0, clock=clock)
    held(slots, "big", 8)
    clock.now += 3.0

    assert slots.take("big", None) is None
