"""Who waits for a slot at a provider, and who is told at once to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import cast

import pytest

from providers.catalogue import load
from providers.client import ProviderClient
from services.admission import CONCURRENCY, Admission, Denied
from services.connecting.exchange import Exchange, Refusal
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
