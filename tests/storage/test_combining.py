"""The combiner: each caller hears his own outcome, and nobody is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from storage.combining import HANGING, Combiner, GroupFailed
from tests.storage.grouping import gathered
from tests.support.waiting import eventually


class Work:
    """What carries groups out: doubles numbers, can be held up, and fails where it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        #: By a number of the group that fails.
        self.failures: dict[int, BaseException] = {}

    def __call__(self, group: list[int]) -> list[int]:
        self.groups.append(group)
        self.threads.append(threading.get_ident())
        assert self.gate.wait(60)
        for number in group:
            if number in self.failures:
                raise self.failures[number]
        return [2 * number for number in group]


def waiting(combiner: Combiner[int, int]) -> int:
    return len(combiner._waiting)


Ask = Callable[..., list[Future[int]]]


@contextmanager
def held_up(work: Work, *, most: int) -> Iterator[Ask]:
    """A combiner whose first group is under way until the gate opens; yields what sends callers, in order."""
    combiner: Combiner[int, int] = Combiner(work, most=most, patience=60)

    def come() -> int:
        return waiting(combiner) + len(work.groups)

    def ask(*numbers: int) -> list[Future[int]]:
        futures = []
        for number in numbers:
            due = come() + 1
            futures.append(pool.submit(combiner.ask, number))
            eventually(lambda due=due: come() == due)  # type: ignore[misc]  # bound at once
        return futures

    work.gate.clear()
    with ThreadPoolExecutor(16) as pool:
        try:
            yield ask
        finally:
            work.gate.set()
    assert waiting(combiner) == 0
    assert combiner._leaders == {}


def test_a_lone_caller_is_served_at_once_on_his_own_thread() -> None:
    """Nobody is waited for, and no other thread is woken."""
    work = Work()
    combiner: Combiner[int, int] = Combiner(work, most=8)

    assert [combiner.ask(number) for number in (1, 2)] == [2, 4]
    assert work.groups == [[1], [2]]
    assert set(work.threads) == {threading.get_ident()}


def test_a_group_is_what_came_while_the_one_before_was_under_way() -> None:
    """In the order in which it came, and no more of it than is allowed."""
    work = Work()
    with held_up(work, most=3) as ask:
        futures = ask(1, 2, 3, 4, 5, 6)
        work.gate.set()
        assert [future.result(60) for future in futures] == [2, 4, 6, 8, 10, 12]

    assert work.groups == [[1], [2, 3, 4], [5, 6]]


def test_many_threads_each_hear_their_own_outcome() -> None:
    """Sixty-four threads, fifty requests each: every outcome goes to its caller, nothing is done twice."""
    work = Work()
    combiner: Combiner[int, int] = Combiner(work, most=16)
    start = threading.Barrier(64)

    def ask(thread: int) -> bool:
        start.wait(60)
        return all(combiner.ask(1000 * thread + each) == 2 * (1000 * thread + each) for each in range(50))

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(64)))

    done = sorted(number for group in work.groups for number in group)
    assert done == sorted(1000 * thread + each for thread in range(64) for each in range(50))
    assert max(map(len, work.groups)) <= 16
    assert waiting(combiner) == 0


def test_a_failure_is_its_own_groups() -> None:
    """Every caller of the group hears why, each as an exception of his own; the others are served."""
    work, why = Work(), ValueError("broken")
    work.failures[3] = why
    with held_up(work, most=3) as ask:
        first, second, third, fourth, fifth = ask(1, 2, 3, 4, 5)
        work.gate.set()
        failed = [future.exception(60) for future in (second, third, fourth)]
        assert (first.result(60), fifth.result(60)) == (2, 10)

    assert all(isinstance(each, GroupFailed) and each.__cause__ is why for each in failed)
    assert len({id(each) for each in failed}) == 3


@pytest.mark.parametrize("ending", [SystemExit(), KeyboardInterrupt()])
def test_a_leader_that_is_ended_leaves_nobody_waiting(ending: BaseException) -> None:
    """He alone ends; his group hears that nobody knows, and those behind it are served."""
    work = Work()
    work.failures[2] = ending
    with held_up(work, most=2) as ask:
        first, leader, follower, behind = ask(1, 2, 3, 4)
        work.gate.set()
        unknown = follower.exception(60)
        assert (first.result(60), behind.result(60)) == (2, 8)
        assert leader.exception(60) is ending

    assert isinstance(unknown, GroupFailed)
    assert unknown.__cause__ is None


class Ending(list[int]):
    """Outcomes over which the thread that hands them out is ended, from a certain one on."""

    def __getitem__(self, key: Any) -> Any:
        if key.start >= 1:
            raise SystemExit
        return super().__getitem__(key)


def test_a_leader_that_is_ended_while_he_wakes_the_others_leaves_nobody_waiting() -> None:
    """Those whom he has not woken see that he has gone, and hear that nobody knows."""
    combiner: Combiner[int, int] = Combiner(Ending, most=4, patience=0.05)
    with gathered(combiner) as together:
        futures = together([partial(combiner.ask, number) for number in range(4)])
        heard = [type(future.exception(60)) for future in futures]

    assert sorted(each.__name__ for each in heard) == ["GroupFailed"] * 3 + ["SystemExit"]
    assert (waiting(combiner), combiner._leaders) == (0, {})


def test_a_group_with_too_few_outcomes_leaves_nobody_waiting() -> None:
    """Whose outcome is missing hears that nobody knows."""
    combiner: Combiner[int, int] = Combiner(lambda _: [], most=2)

    with pytest.raises(GroupFailed):
        combiner.ask(1)


def test_a_group_that_hangs_holds_nobody_up_for_long() -> None:
    """Those behind it lead another one; when it comes back, its callers have their outcomes."""
    work, hung = Work(), threading.Event()

    def carry_out(group: list[int]) -> list[int]:
        if group == [1]:
            assert hung.wait(60)
        return work(group)

    combiner: Combiner[int, int] = Combiner(carry_out, most=8, patience=0.05)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(combiner.ask, 1)
        eventually(lambda: len(combiner._leaders) == 1)
        try:
            assert [pool.submit(combiner.ask, number).result(60) for number in (2, 3)] == [4, 6]
            assert not first.done()
        finally:
            hung.set()
        assert first.result(60) == 2
    assert combiner._leaders == {}


def test_no_more_groups_hang_than_are_allowed() -> None:
    """Where everything hangs, the rest waits."""
    work = Work()
    combiner: Combiner[int, int] = Combiner(work, most=1, patience=0.01)
    work.gate.clear()
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(combiner.ask, number) for number in range(6)]
        try:
            eventually(lambda: len(work.groups) == HANGING + 1)
            eventually(lambda: waiting(combiner) == 6 - len(work.groups))
            assert not combiner._lead_is_free()
        finally:
            work.gate.set()
        assert sorted(future.result(60) for future in futures) == [0, 2, 4, 6, 8, 10]


def test_as_many_groups_as_lanes_are_under_way() -> None:
    """With two lanes the second caller does not wait for the first, and the third does."""
    work = Work()
    combiner: Combiner[int, int] = Combiner(work, most=8, lanes=2, patience=60)
    work.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(combiner.ask, number) for number in range(3)]
        try:
            eventually(lambda: (len(work.groups), waiting(combiner)) == (2, 1))
        finally:
            work.gate.set()
        assert [future.result(60) for future in futures] == [0, 2, 4]
