"""Callers of one process who want the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from domain.asks import Outcome, RefreshAsk
from domain.errors import ServiceUnavailable
from services.refresh.result import RefreshResult
from services.refresh.together import Together, Told, Wish
from tests.support.waiting import eventually

CONNECTION = uuid4()
WISH = Wish(CONNECTION, RefreshAsk(), timedelta(seconds=10))
REFRESHED = RefreshResult(Outcome.REFRESHED, CONNECTION, version=2)
FRESH = RefreshResult(Outcome.FRESH, CONNECTION, version=2)


class Attempt:
    """An attempt that ends when it is let, and counts how often it was made."""

    def __init__(self, end: RefreshResult | Exception) -> None:
        self._end = end
        self.go = threading.Event()
        self.made = 0

    def __call__(self) -> RefreshResult:
        self.made += 1
        assert self.go.wait(30)
        if isinstance(self._end, RefreshResult):
            return self._end
        raise self._end


def waiting(together: Together, wish: Wish = WISH) -> int:
    with together._lock:
        return len(together._others[wish].waiting) if wish in together._others else 0


def under_way(together: Together, wish: Wish = WISH) -> bool:
    with together._lock:
        return wish in together._others


def test_many_who_want_the_same_make_one_attempt() -> None:
    """One presents and says so; to the others the token is fresh."""
    together, attempt = Together(), Attempt(REFRESHED)
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(together.have, WISH, attempt) for _ in range(50)]
        eventually(lambda: waiting(together) == 49)
        attempt.go.set()
        results = [one.result(30) for one in asked]

    assert attempt.made == 1
    assert sorted(str(result.outcome) for result in results) == ["fresh"] * 49 + ["refreshed"]
    assert {result.version for result in results} == {2}


def test_who_can_be_told_later_holds_no_thread() -> None:
    """He hears None at once, and what came of it in the leader's thread."""
    together, attempt = Together(), Attempt(REFRESHED)
    heard: list[Told] = []
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(together.have_or_hear, WISH, attempt, heard.append)
        eventually(lambda: under_way(together))
        assert together.have_or_hear(WISH, attempt, heard.append) is None
        assert heard == []
        attempt.go.set()

        assert leader.result(30) == REFRESHED
    assert heard == [FRESH]
    assert attempt.made == 1


def test_different_wishes_are_not_mixed() -> None:
    """Another token, another ask, or another patience is another attempt."""
    together, attempt = Together(), Attempt(FRESH)
    others = (
        Wish(uuid4(), WISH.ask, WISH.patience),
        Wish(CONNECTION, RefreshAsk(force=True), WISH.patience),
        Wish(CONNECTION, RefreshAsk(if_version=1), WISH.patience),
        Wish(CONNECTION, WISH.ask, timedelta(0)),
    )
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(together.have, wish, attempt) for wish in (WISH, *others)]
        eventually(lambda: attempt.made == 5)
        attempt.go.set()
        assert [one.result(30) for one in asked] == [FRESH] * 5


def test_an_ended_attempt_is_nobodys_answer_any_more() -> None:
    """Who asks afterwards makes an attempt of his own: what was true then may not be now."""
    together, attempt = Together(), Attempt(FRESH)
    attempt.go.set()

    assert [together.have(WISH, attempt) for _ in range(3)] == [FRESH] * 3
    assert attempt.made == 3


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (ServiceUnavailable("Postgres: away"), "Postgres: away"),
        (ValueError("a bug"), RefreshResult(Outcome.DEFERRED, CONNECTION, code="busy")),
    ],
)
def test_a_leader_in_trouble_leaves_nobody_waiting(trouble: Exception, told: object) -> None:
    """That Postgres is away concerns all; anything else is the leader's own, and the others ask again."""
    together, attempt = Together(), Attempt(trouble)
    heard: list[Told] = []
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(together.have, WISH, attempt)
        eventually(lambda: under_way(together))
        together.have_or_hear(WISH, attempt, heard.append)
        attempt.go.set()
        with pytest.raises(type(trouble)):
            leader.result(30)

    assert [str(one) if isinstance(one, ServiceUnavailable) else one for one in heard] == [told]
    assert not under_way(together)


def test_one_who_cannot_be_told_keeps_it_from_nobody_who_waits() -> None:
    """His result has no place to go to, nor have the next ones'; those with a thread of their own hear."""
    together, attempt = Together(), Attempt(FRESH)
    heard: list[Told] = []

    def broken(_: Told) -> None:
        raise ConnectionError

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(together.have, WISH, attempt)
        eventually(lambda: under_way(together))
        together.have_or_hear(WISH, attempt, broken)
        together.have_or_hear(WISH, attempt, heard.append)
        other = pool.submit(together.have, WISH, attempt)
        eventually(lambda: waiting(together) == 1)
        attempt.go.set()

        assert (leader.result(30), other.result(30)) == (FRESH, FRESH)
    assert heard == []
    assert attempt.made == 1
