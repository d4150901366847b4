"""What people connect, workers keep fresh: whole processes of every kind on one database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulator.process import SimulatorProcess
from tests.api.browser import Browser
from tests.api.conftest import deployed
from tests.api.world import World, start
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

DUE = """
    UPDATE tokens SET refresh_due_at = now() - interval '1 second' WHERE connection_id = %s RETURNING version
"""


@pytest.fixture
def whole(
    migrated_database_url: str,
    redis_url: str,
    simulator: SimulatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """The HTTP face, workers and beat."""
    folder = tmp_path_factory.mktemp("whole")
    with deployed(folder, migrated_database_url, redis_url, simulator) as deployment:
        world = start(deployment)
        deployment.await_alive(deployment.bulk(), deployment.interactive())
        deployment.beat()
        yield world
        world.api.close()


def test_connecting_again_heals_a_dead_connection(whole: World, browser: Browser) -> None:
    """A grant dies, its alert is opened; the person connects again, the alert is resolved, and the worker
    refreshes the new grant, once, without ever presenting the old one again."""
    connection_id = whole.connect("strict", "user-1")
    old = newest_grant(whole)
    whole.deployment.simulator.revoke([old])
    whole.change(DUE, connection_id)
    eventually(lambda: status(whole, connection_id) == "needs_reauth", what="the grant is found dead")
    presented = whole.deployment.simulator.grant(old)["presentations"]
    assert whole.alerts(connection_id) == [("needs_reauth", "open")]

    page = browser.consent(whole.link("strict", "user-1"), **{"as": "alice"})
    assert page.status_code == 200
    assert whole.alerts(connection_id) == [("needs_reauth", "resolved")]
    assert status(whole, connection_id) == "active"
    whole.change(DUE, connection_id)
    eventually(lambda: refreshed(whole, connection_id), what="the new grant is refreshed")
    assert whole.deployment.simulator.grant(old)["presentations"] == presented
    assert [kind for kind, _ in whole.activity("user-1")][-2:] == ["reconnected", "refreshed"]


def test_a_refresh_of_the_old_grant_does_not_overwrite_the_new_one(whole: World, browser: Browser) -> None:
    """A worker is presenting the old refresh token while the person connects again: its answer is not stored,
    and the new grant is refreshed afterwards without any reuse."""
    connection_id = whole.connect("strict", "user-1")
    callback = browser.decide(browser.leave(whole.link("strict", "user-1")))
    old = newest_grant(whole)
    whole.deployment.simulator.fault("hang_before", seconds=4, dialect="strict", grant_id=old)
    whole.change(DUE, connection_id)
    eventually(lambda: whole.deployment.simulator.grant(old)["under_way"], what="it is presented")

    assert browser.get(callback).status_code == 200
    (row,) = whole.connections("user-1")
    eventually(
        lambda: "answer_dropped" in [kind for kind, _ in whole.activity("user-1")], what="the answer came"
    )
    (after,) = whole.connections("user-1")
    assert (after["grant_id"], after["version"]) == (row["grant_id"], row["version"])
    whole.change(DUE, connection_id)
    eventually(lambda: refreshed(whole, connection_id), what="the new grant is refreshed")
    total = whole.deployment.simulator.report()["total"]
    assert (total["reuse"], total["concurrent_presentations"]) == (0, 0)
    assert status(whole, connection_id) == "active"


def newest_grant(world: World) -> str:
    """Give the grant that a person has made last."""
    lives = world.deployment.simulator.lives(owner="")
    return str([row["grant_id"] for row in lives if row["dialect"] == "strict"][-1])


def status(world: World, connection_id: str) -> str:
    (row,) = world.rows("SELECT status FROM tokens WHERE connection_id = %s", connection_id)
    return str(row["status"])


def refreshed(world: World, connection_id: str) -> bool:
    (row,) = world.rows("SELECT last_refreshed_at FROM tokens WHERE connection_id = %s", connection_id)
    return row["last_refreshed_at"] is not None
