"""Who waits for a slot at a provider, and who is told at once to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import cast

import pytest

from domain.errors import ServiceUnavailable
from providers.catalogue import load
from providers.client import ProviderClient
from services.admission import CONCURRENCY, Admission, Admitted, Denied
from services.connecting.calling import Calls, Refusal
from services.connecting.exchange import Exchange
from services.connecting.outcomes import Failure
from services.connecting.places import PLACES, Places
from services.providers import ProviderDesk, ReadyProvider
from services.scopes import Scope


class Full:
    """An admission whose every slot is held."""

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Denied]:
        del scope
        yield Denied(CONCURRENCY)


def microsoft() -> ReadyProvider:
    variables = {f"EVERGRANT_MICROSOFT_CLIENT_{name}": "made-up" for name in ("ID", "SECRET")}
    provider = ProviderDesk(load(None), variables).ready("microsoft")
    assert isinstance(provider, ReadyProvider)
    return provider


def test_of_many_who_wait_for_a_provider_the_next_is_told_at_once() -> None:
    """Whoever waits holds a thread: a provider that hangs must leave threads for people of the others."""
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def sleep(seconds: float) -> None:
        del seconds
        waiting.release()
        assert go_on.wait(30)

    clock = iter(range(10_000))
    exchange = Exchange(
        cast("ProviderClient", None), cast("Admission", Full()), clock=lambda: next(clock), sleep=sleep
    )
    provider = microsoft()

    def ask() -> object:
        return exchange.device(provider, ("openid",), {"tenant": "common"})

    with ThreadPoolExecutor(PLACES) as pool:
        try:
            asked = [pool.submit(ask) for _ in range(PLACES)]
            for _ in range(PLACES):
                assert waiting.acquire(timeout=30)
            assert ask() == Refusal(Failure.UNAVAILABLE, CONCURRENCY)
            assert not any(one.done() for one in asked)
        finally:
            go_on.set()
        assert {one.result() for one in asked} == {Refusal(Failure.UNAVAILABLE, CONCURRENCY)}


def test_a_place_is_given_back_whatever_happens() -> None:
    """It is of one provider alone, and free again after a failure."""
    places = Places(most=1)
    with places.one("a") as first, places.one("a") as second, places.one("b") as other:
        assert (first, second, other) == (True, False, True)
    with pytest.raises(RuntimeError), places.one("a"):
        raise RuntimeError
    with places.one("a") as again:
        assert again


class Away:
    """An admission that cannot be read for a while."""

    def __init__(self, times: int) -> None:
        self.times = times

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Admitted]:
        del scope
        self.times -= 1
        if self.times >= 0:
            raise ServiceUnavailable("Postgres is away")
        yield Admitted()


@pytest.mark.parametrize(("times", "seconds", "lost"), [(5, 1, False), (50, 1, True)])
def test_a_moment_without_postgres_is_waited_out(times: int, seconds: int, lost: bool) -> None:
    """What a code exchange brought is in memory alone while the account is asked for: that Postgres cannot
    say at once whether the call may be made does not throw it away. After a while it does."""
    clock = count(step=seconds)
    calls = Calls(cast("Admission", Away(times)), clock=lambda: float(next(clock)), sleep=lambda _: None)
    made = []

    def make() -> object:
        return calls.make(microsoft(), lambda: made.append("call"), ())

    if lost:
        with pytest.raises(ServiceUnavailable):
            make()
    else:
        make()
    assert made == ([] if lost else ["call"])


def test_a_call_that_was_begun_is_not_made_again_for_a_database() -> None:
    """A code is spent by being sent, whatever fails afterwards."""
    calls = Calls(cast("Admission", Away(0)), clock=lambda: 0.0, sleep=lambda _: None)
    made = []

    def call() -> None:
        made.append("call")
        raise ServiceUnavailable("Postgres is away")

    with pytest.raises(ServiceUnavailable):
        calls.make(microsoft(), call, ())
    assert made == ["call"]
