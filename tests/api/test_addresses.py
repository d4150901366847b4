"""Addresses that anybody can write: none of them costs much, leads elsewhere, or shows a person a machine's
words."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx2
import pytest
from fastapi import Request
from starlette.types import ASGIApp

from api.app import make
from api.parameters import once
from services.connecting import Face
from services.connecting.outcomes import Failure, Finished
from tests.api.browser import Browser
from tests.api.world import World


class Counting(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counting.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_many_parameters_are_read_in_one_walk() -> None:
    """The work grows with their number and not with its square: whoever sends thousands stops nobody."""
    given = [(Counting(f"name-{number}"), "") for number in range(3000)]
    query = SimpleNamespace(multi_items=lambda: given)
    single, repeated = once(cast("Request", SimpleNamespace(query_params=query)))

    assert (len(single), repeated) == (3000, frozenset())
    assert Counting.compared < 30_000


@pytest.mark.acceptance
@pytest.mark.servers
@pytest.mark.parametrize("provider_id", ["nobody", "x" * 200, "%00", "%E2%80%AE", "..%5c"])
@pytest.mark.parametrize("route", ["begin?link=x", "callback?state=x&code=x"])
def test_a_person_at_no_provider_gets_a_page(
    world: World, browser: Browser, provider_id: str, route: str
) -> None:
    """It repeats nothing of the address."""
    page = browser.get(f"{world.url}/oauth/{provider_id}/{route}")

    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "leads nowhere" in page.text
    assert provider_id not in page.text


@pytest.mark.acceptance
@pytest.mark.servers
def test_a_slash_too_many_leads_nowhere(world: World, browser: Browser) -> None:
    """No redirect is made of the host that a request names, nor of its query."""
    answer = browser.client.get(
        f"{world.url}/oauth/strict/callback/?state=x&code=x", headers={"Host": "evil.example.com"}
    )

    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.acceptance
@pytest.mark.servers
@pytest.mark.parametrize("more", [{"user_id": "mallory"}, {"redirect_to": "http://localhost:3000/x"}])
def test_a_parameter_that_comes_twice_is_no_wish(world: World, user: str, more: dict[str, str]) -> None:
    """A product that puts an address together from its users' texts is not talked into another user."""
    wished = {"user_id": user, "redirect_to": "http://localhost:3000/"}
    answer = world.api.get("/oauth/strict/connect", params=[*wished.items(), *more.items()])

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


class Desk:
    """Knows one provider."""

    catalogue = ("strict",)

    def display_name(self, provider_id: str) -> str:
        return provider_id.title()


def failing(**services: object) -> ASGIApp:
    """Make an application whose services have a bug, but for those that are given."""
    wired: Any = SimpleNamespace(desk=Desk(), **services)
    return make(wired, Face("http://127.0.0.1:1"), admin_key=None, threads=1)


@pytest.mark.parametrize("route", ["begin", "callback"])
def test_a_bug_shows_a_person_a_page(route: str) -> None:
    """Whoever consents at a provider sees words, and support a code, even where our code fails."""

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=failing(), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
            return await client.get(f"/oauth/strict/{route}")

    page = anyio.run(ask)
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "start connecting Strict again" in page.text
    assert "internal_error" in page.text
    assert page.headers["referrer-policy"] == "no-referrer"


def test_whoever_watches_is_answered_while_everybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness is found out by threads of its own: people who wait for a slow provider must not make the
    process look dead."""
    monkeypatch.setattr("api.health.readiness", lambda _: {"postgres": "ok", "redis": "ok"})
    began, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> Finished:
        began.set()
        assert go_on.wait(30)
        return Finished("strict", "Strict", Failure.UNAVAILABLE)

    app = failing(connecting=SimpleNamespace(leaving=SimpleNamespace(open=slow)))

    async def ask() -> list[int]:
        statuses = []
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:

            async def wait() -> None:
                statuses.append((await client.get("/oauth/strict/begin")).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not began.is_set():
                    await anyio.lowlevel.checkpoint()
                try:
                    with anyio.fail_after(20):
                        statuses.append((await client.get("/readyz")).status_code)
                finally:
                    go_on.set()
        return statuses

    assert anyio.run(ask) == [200, 503]
