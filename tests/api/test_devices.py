"""The device flow: a code is shown here and typed elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.browser import Browser, with_query
from tests.api.world import World
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def begin(world: World, user: str, **more: object) -> dict[str, Any]:
    answer = world.api.post("/oauth/strict/device", json={"user_id": user, **more})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def look(world: World, flow: str) -> dict[str, Any]:
    answer = world.api.get(f"/oauth/strict/device/{flow}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def settled(world: World, flow: str) -> dict[str, Any]:
    return eventually(lambda: _not_pending(look(world, flow)), what="the flow has ended") or {}


def _not_pending(shown: dict[str, Any]) -> dict[str, Any] | None:
    return None if shown["status"] == "pending" else shown


def test_a_code_that_is_typed_elsewhere_connects(world: World, browser: Browser, user: str) -> None:
    """Until the person agrees the flow is pending; then the grant is stored as any other, and stays told."""
    shown = begin(world, user)
    assert look(world, shown["flow"])["status"] == "pending"
    browser.get(with_query(shown["verification_uri_complete"], decision="agree", **{"as": "alice"}))
    ended = settled(world, shown["flow"])

    (row,) = world.connections(user)
    assert ended == {
        "status": "connected", "connection": row["id"], "missing_scopes": [], "retry_after": None,
    }  # fmt: skip
    assert look(world, shown["flow"]) == ended
    assert (row["account_id"], row["status"], row["scope"]) == ("alice", "active", ["read"])
    assert world.activity(user) == [("connected", None)]


def test_a_person_who_says_no(world: World, browser: Browser, user: str) -> None:
    """The flow ends, is recorded, and changes nothing."""
    shown = begin(world, user)
    browser.get(with_query(shown["verification_uri_complete"], decision="deny"))

    assert settled(world, shown["flow"])["status"] == "access_denied"
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "access_denied")]


def test_the_provider_is_never_asked_too_often(world: World, browser: Browser, user: str) -> None:
    """However often and from wherever we are asked: the provider never has to say `slow_down`."""
    shown = begin(world, user)
    before = told(world, "slow_down")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: look(world, shown["flow"]), range(40)))
    browser.get(with_query(shown["verification_uri_complete"], decision="agree"))

    assert settled(world, shown["flow"])["status"] == "connected"
    assert told(world, "slow_down") == before


def told(world: World, result: str) -> int:
    return int(world.deployment.simulator.report()["dialects"]["strict"]["results"].get(result, 0))


def test_a_provider_that_says_slow_down_is_asked_more_rarely(world: World, user: str) -> None:
    """Five seconds are added to the interval, for good (RFC 8628 §3.5)."""
    shown = begin(world, user)
    world.deployment.simulator.fault("status", status=400, error="slow_down", dialect="strict")
    eventually(
        lambda: look(world, shown["flow"]) and not world.deployment.simulator.faults(), what="it was said"
    )

    (flow,) = world.rows("SELECT poll_seconds FROM connect_flows WHERE id = %s", shown["flow"])
    assert flow["poll_seconds"] == shown["interval"] + 5


def test_a_code_that_has_expired(world: World, user: str) -> None:
    """Whoever asks too late is told so, without the provider being asked."""
    shown = begin(world, user)
    world.change(
        "UPDATE connect_flows SET expires_at = now() - interval '1 second' WHERE user_id = %s RETURNING id",
        user,
    )

    assert look(world, shown["flow"])["status"] == "device_expired"
    assert world.activity(user) == [("connect_failed", "device_expired")]


def test_what_is_no_flow(world: World, user: str) -> None:
    """An unknown id, another provider's, or a code flow's; and providers without such a flow."""
    shown = begin(world, user)
    for path in (
        f"/oauth/strict/device/{'0' * 8}-0000-0000-0000-{'0' * 12}",
        f"/oauth/gsc/device/{shown['flow']}",
    ):
        assert world.api.get(path).status_code == 404
    refused = world.api.post("/oauth/bing/device", json={"user_id": user})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_connectable")
    assert (
        world.api.get(f"/oauth/strict/device/{shown['flow']}", headers={"Authorization": ""}).status_code
        == 401
    )
