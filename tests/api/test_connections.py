"""What callers with a key can see and end, and what watches over the process."""

from __future__ import annotations

import signal

import pytest

from tests.api.browser import Browser
from tests.api.conftest import deployed
from tests.api.world import World, start
from tests.support.servers import create_database, drop_database
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def test_providers_are_listed_with_what_a_user_has(world: World, user: str) -> None:
    """Every provider of the catalogue, whether it is configured, and whether this user has connected it."""
    world.connect("strict", user)
    listed = {row["id"]: row for row in world.api.get("/oauth/providers", params={"user_id": user}).json()}

    assert (listed["strict"]["connected"], listed["gsc"]["connected"]) == (True, False)
    assert (listed["unconfigured"]["configured"], listed["strict"]["configured"]) == (False, True)
    assert "connect" in listed["strict"]["capabilities"]
    assert "connect" not in listed["wix-app"]["capabilities"]
    assert listed["window"]["variables"] == {"shop": "the shop's name"}


def test_a_status_holds_no_secret(world: World, user: str) -> None:
    """What is told of a connection has neither token nor digest in it."""
    connection_id = world.connect("strict", user)
    answer = world.api.get("/oauth/strict/status", params={"user_id": user})

    assert (answer.json()["id"], answer.json()["status"]) == (connection_id, "active")
    assert "sim-" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_connection_is_ended(world: World, user: str) -> None:
    """Revoked at the provider and erased here; a second time says so, and another user has none."""
    world.connect("strict", user, account=user)
    ended = world.api.post("/oauth/strict/disconnect", json={"user_id": user})
    again = world.api.post("/oauth/strict/disconnect", json={"user_id": user})
    nobody = world.api.post("/oauth/strict/disconnect", json={"user_id": f"{user}-else"})

    assert (ended.status_code, ended.json()["outcome"], ended.json()["revoked"]) == (200, "revoked", True)
    assert again.json()["outcome"] == "already"
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_connected")
    (row,) = world.connections(user)
    assert (row["status"], row["kept"]) == ("disconnected", False)


def test_what_ended_can_be_connected_again(world: World, user: str) -> None:
    """The same account comes back to the same connection."""
    first = world.connect("strict", user, account=user)
    world.api.post("/oauth/strict/disconnect", json={"user_id": user})
    second = world.connect("strict", user, account=user)

    assert first == second
    assert world.connections(user)[0]["status"] == "active"
    assert [kind for kind, _ in world.activity(user)] == [
        "connected",
        "disconnected",
        "revoked",
        "reconnected",
    ]


@pytest.mark.parametrize("body", [{}, {"user_id": ""}, {"user_id": "u", "more": 1}, [], "text"])
def test_a_body_that_is_wrong_is_named(world: World, body: object) -> None:
    """The problem names the member and repeats no value."""
    answer = world.api.post("/oauth/strict/disconnect", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_health_needs_no_key(world: World) -> None:
    """Liveness and readiness are for whoever watches; an unknown path is a problem document like any
    other."""
    anonymous = {"Authorization": ""}
    assert world.api.get("/healthz", headers=anonymous).json() == {"status": "ok"}
    assert world.api.get("/readyz", headers=anonymous).json() == {
        "status": "ok", "postgres": "ok", "redis": "ok",
    }  # fmt: skip
    missing = world.api.get("/nothing", headers=anonymous)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    described = world.api.get("/openapi.json", headers=anonymous).json()["paths"]
    assert "/oauth/{provider_id}/connect" in described


def test_a_key_ring_that_lacks_the_agreed_key_is_told(world: World, browser: Browser, user: str) -> None:
    """Nothing is sealed that the workers could not open: a page for the person, and words in the log."""
    link = world.link("strict", user)
    (agreed,) = world.rows("SELECT sealing_key AS key FROM deployment")
    world.change("UPDATE deployment SET sealing_key = 'other:0011223344556677' RETURNING singleton")
    try:
        page = browser.get(link)
    finally:
        world.change("UPDATE deployment SET sealing_key = %s RETURNING singleton", agreed["key"])

    assert page.status_code == 503
    assert "We cannot finish this at the moment" in page.text
    assert "EVERGRANT_KEYS does not hold" in world.log
    assert browser.leave(link)


def test_servers_that_are_away_are_told(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    redis_server: EmbeddedRedis,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
    browser: Browser,
    simulator: object,
) -> None:
    """Without its database the face is alive and not ready; callers get 503 with Retry-After, people a page;
    and it ends at once when it is asked to."""
    name = "test_api_away"
    url = create_database(postgres_server.url, name, template=migrated_template)
    folder = tmp_path_factory.mktemp("away")
    with deployed(folder, url, redis_server.url, simulator) as deployment:  # type: ignore[arg-type]  # the fixture's own type
        face = start(deployment)
        link = face.link("strict", "somebody")
        drop_database(postgres_server.url, name)

        ready = face.api.get("/readyz")
        asked = face.api.get("/oauth/strict/connect", params={"user_id": "somebody"})
        page = browser.get(link)
        came_back = browser.get(f"{face.url}/oauth/strict/callback?state=x&code=y")

        assert (ready.status_code, ready.json()["postgres"], ready.json()["redis"]) == (
            503,
            "unavailable",
            "ok",
        )
        assert face.api.get("/healthz").status_code == 200
        assert (asked.status_code, asked.headers["retry-after"]) == (503, "5")
        assert asked.json()["code"] == "database_unavailable"
        for answer in (page, came_back):
            assert answer.status_code == 503
            assert "We cannot finish this at the moment" in answer.text
        face.api.close()
        assert face.running.end(signal.SIGTERM) == 0
