"""Several accounts of one user, and connections that were there before."""

from __future__ import annotations

import json

import pytest

from tests.api.browser import Browser, query_of
from tests.api.world import World

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def imported(world: World, user: str, provider_id: str = "strict", **more: object) -> str:
    """Import a connection as a product did before people could connect here, and give its id."""
    dialect = {"strict": "strict", "gsc": "google", "window": "window"}[provider_id]
    (grant,) = world.deployment.simulator.mint(dialect, 1)
    line = {
        "user_id": user,
        "provider_id": provider_id,
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "expires_at": grant.expires_at,
        "scope": grant.scope,
        "metadata": {"plan": "pro"},
        **more,
    }
    world.deployment.cli("connections", "import", "-", stdin=json.dumps(line))
    return str(world.connections(user)[0]["id"])


def test_each_account_is_a_connection_of_its_own(world: World, user: str) -> None:
    """Two accounts of one user live side by side; whoever asks has to name one of them."""
    world.connect("strict", user, account="alice")
    world.connect("strict", user, account="bob")

    assert [row["account_id"] for row in world.connections(user)] == ["alice", "bob"]
    asked = world.api.get("/oauth/strict/status", params={"user_id": user})
    assert (asked.status_code, asked.json()["code"]) == (409, "account_needed")
    named = world.api.get("/oauth/strict/status", params={"user_id": user, "account_id": "bob"})
    assert (named.status_code, named.json()["account_id"], named.json()["status"]) == (200, "bob", "active")


def test_connecting_again_replaces_the_grant(world: World, user: str) -> None:
    """The same account gets a new grant on the same connection; the old one is left alone at the provider."""
    first = world.connect("strict", user)
    (before,) = world.connections(user)
    second = world.connect("strict", user)
    (after,) = world.connections(user)

    assert first == second
    assert after["grant_id"] != before["grant_id"]
    assert after["version"] == before["version"] + 1
    assert world.rows("SELECT id FROM pending_revocations WHERE user_id = %s", user) == []


def test_a_link_for_one_account_is_for_no_other(world: World, browser: Browser, user: str) -> None:
    """Whoever signs in as somebody else changes neither account."""
    world.connect("strict", user, account="alice")
    before = world.connections(user)
    page = browser.consent(world.link("strict", user, account_id="alice"), **{"as": "bob"})

    assert page.status_code == 409
    assert "another Strict" in page.text
    # It may be connected or not: nothing is claimed about it.
    assert "connected already" not in page.text
    assert world.connections(user) == before
    assert world.activity(user)[-1] == ("connect_failed", "another_account")
    browser.consent(world.link("strict", user, account_id="alice"), **{"as": "alice"})
    assert world.activity(user)[-1] == ("reconnected", None)


def test_where_the_provider_names_nobody_the_caller_does(world: World, browser: Browser, user: str) -> None:
    """Without a way to know the account, `account_id` tells connections apart, and "" is the usual one."""
    for more in ({}, {"account_id": "blog"}, {"account_id": "blog"}):
        browser.consent(world.link("window", user, shop="window", plan="pro", **more))

    assert [row["account_id"] for row in world.connections(user)] == ["", "blog"]


def test_a_dead_connection_without_a_name_is_taken_over(world: World, user: str) -> None:
    """It came by import, before accounts were known. Connecting heals it instead of leaving its alert open:
    same id, its account named, its metadata kept; and callers who name no account find it."""
    connection_id = imported(world, user)
    world.change(
        "UPDATE tokens SET status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL,"
        " alerted = true WHERE connection_id = %s RETURNING version",
        connection_id,
    )
    world.change(
        "INSERT INTO alerts (id, cause, kind, severity, title, help, connection_id)"
        " VALUES (gen_random_uuid(), %s, 'needs_reauth', 'warning', 't', 'h', %s) RETURNING id",
        f"connection:{connection_id}:needs_reauth",
        connection_id,
    )
    world.connect("strict", user, account="alice")

    (row,) = world.connections(user)
    assert (row["id"], row["account_id"], row["status"]) == (connection_id, "alice", "active")
    assert row["metadata"] == {"plan": "pro"}
    assert world.alerts(connection_id) == [("needs_reauth", "resolved")]
    found = world.api.get("/oauth/strict/status", params={"user_id": user})
    assert found.json()["id"] == connection_id


def test_a_living_connection_without_a_name_is_not_taken_over(
    world: World, browser: Browser, user: str
) -> None:
    """Nobody knows whose it is, and another account could lose its grant; who means it says so. Who names no
    account goes on meaning the connection without a name, as tasks and commands do."""
    connection_id = imported(world, user)
    world.connect("strict", user, account="bob")
    assert {row["account_id"] for row in world.connections(user)} == {"", "bob"}
    asked = world.api.get("/oauth/strict/status", params={"user_id": user})
    assert (asked.status_code, asked.json().get("id")) == (200, connection_id)

    browser.consent(world.link("strict", user, account_id=""), **{"as": "alice"})
    assert {row["account_id"]: row["id"] for row in world.connections(user)}["alice"] == connection_id


def test_an_answer_without_a_refresh_token_takes_nothing_away(
    world: World, browser: Browser, user: str
) -> None:
    """A provider that gives one at the first consent alone must not cost the one that is kept."""
    world.connect("strict", user)
    before = world.connections(user)
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.deployment.simulator.configure("strict", first_refresh_token=False)
    page = browser.get(callback)

    assert page.status_code == 200
    assert "left as it is" in page.text
    assert world.connections(user) == before
    assert world.activity(user)[-1] == ("connection_kept", None)


def test_an_account_may_be_called_by_its_address(world: World, browser: Browser, user: str) -> None:
    """A product that imported it under the address that people see goes on calling it so: connecting finds
    that connection, named or not, and leaves its name."""
    connection_id = imported(world, user, "gsc", account_id="alice@example.com")
    for more in ({}, {"account_id": "alice@example.com"}):
        page = browser.consent(world.link("gsc", user, **more), **{"as": "alice"})
        assert page.status_code == 200
    (row,) = world.connections(user)
    assert (row["id"], row["account_id"], row["version"]) == (connection_id, "alice@example.com", 3)

    page = browser.consent(world.link("gsc", user, account_id="alice@example.com"), **{"as": "bob"})
    assert page.status_code == 409


def test_what_cannot_be_renewed_is_told(world: World, browser: Browser, user: str) -> None:
    """A first consent without a refresh token is kept as long as it lasts; an alert says when that ends, and
    the next consent resolves it."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.deployment.simulator.configure("strict", first_refresh_token=False)
    assert browser.get(callback).status_code == 200

    (row,) = world.connections(user)
    assert (row["status"], row["refreshable"], row["refresh_due_at"]) == ("active", False, None)
    assert world.alerts(row["id"]) == [("not_renewable", "open")]
    world.deployment.simulator.restore_settings()
    world.connect("strict", user)
    assert world.alerts(row["id"]) == [("not_renewable", "resolved")]
    assert world.connections(user)[0]["refreshable"]


def test_scopes_of_another_account_are_not_asked_for(world: World, browser: Browser, user: str) -> None:
    """What one account has granted is asked of that account alone."""
    world.connect("strict", user, account="alice", scopes="read write")
    world.connect("strict", user, account="bob", account_id="bob")
    asked = query_of(browser.leave(world.link("strict", user, account_id="bob")))["scope"]

    assert asked == "read"
