"""A person connects an account: link, consent, callback, and a grant that workers keep fresh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.browser import Browser, query_of, with_query
from tests.api.world import APP, World

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def test_a_grant_is_stored_and_scheduled(world: World, browser: Browser, user: str) -> None:
    """The link leads to the provider and back to a page that says so; the grant is kept under the account
    that the provider named, with what was granted, and due before it expires."""
    answer = world.api.get("/oauth/strict/connect", params={"user_id": user})
    ends = datetime.fromisoformat(answer.json()["expires_at"])
    page = browser.consent(answer.json()["connect_url"], **{"as": "alice"})

    assert timedelta(minutes=9) < ends - datetime.now(UTC) <= timedelta(minutes=10)
    assert page.status_code == 200
    assert "Strict &lt;provider&gt; is connected as alice" in page.text
    (row,) = world.connections(user)
    assert (row["provider_id"], row["account_id"], row["status"]) == ("strict", "alice", "active")
    assert (row["scope"], row["kept"], row["refreshable"]) == (["read"], True, True)
    assert row["refresh_due_at"] < row["expires_at"]
    assert world.activity(user) == [("connected", None)]
    assert world.alerts(row["id"]) == []


@pytest.mark.parametrize("provider_id", ["gsc", "bing", "wordpress", "wix", "strict"])
def test_every_dialect_connects(world: World, user: str, provider_id: str) -> None:
    """Each provider's own way of asking, exchanging and naming accounts ends in a living connection."""
    world.connect(provider_id, user)

    (row,) = world.connections(user)
    assert row["status"] == "active"
    assert row["refreshable"] == row["kept"] == (provider_id != "wordpress")
    shown = {"gsc": "google-alice", "strict": "alice", "wix": "member-alice", "bing": ""}
    if provider_id == "wordpress":
        # A number of the provider's own.
        assert row["account_id"].isdecimal()
    else:
        assert row["account_id"] == shown[provider_id]
    label = {"account_label": "alice@example.com"} if provider_id == "gsc" else {}
    assert row["metadata"] == label


def test_a_status_tells_how_long_a_new_grant_lives(world: World, user: str) -> None:
    """Where the definition knows the life of its refresh tokens, a status has their end from the first
    moment."""
    world.connect("window", user, shop="window", plan="pro")
    known = world.api.get("/oauth/window/status", params={"user_id": user}).json()
    world.connect("strict", user)
    unknown = world.api.get("/oauth/strict/status", params={"user_id": user}).json()

    lives = datetime.fromisoformat(known["refresh_expires_at"]) - datetime.fromisoformat(
        known["connected_at"]
    )
    assert timedelta(days=59) < lives <= timedelta(days=60)
    assert (unknown["refresh_expires_at"], unknown["dies_at"]) == (None, None)


def test_a_new_grant_remembers_when_its_refresh_token_dies(world: World, user: str) -> None:
    """The definition's sixty days count from the consent, where the answer names no other life."""
    world.connect("window", user, shop="window", plan="basic")

    (row,) = world.rows(
        "SELECT extract(epoch FROM t.refresh_expires_at - c.connected_at)::int AS lives"
        "  FROM connections c JOIN tokens t ON t.connection_id = c.id WHERE c.user_id = %s",
        user,
    )
    assert abs(row["lives"] - 60 * 86400) < 60


def test_the_authorization_request_is_as_the_definition_says(
    world: World, browser: Browser, user: str
) -> None:
    """Exact redirect URI, PKCE by S256 where the provider has it, the definition's parameters, and a state
    that is another one each time."""
    first, second = (query_of(browser.leave(world.link("gsc", user))) for _ in range(2))

    assert first["redirect_uri"] == f"{world.url}/oauth/gsc/callback"
    assert (first["response_type"], first["client_id"]) == ("code", "sim-google-client")
    assert (first["access_type"], first["prompt"]) == ("offline", "consent")
    assert first["scope"] == "openid email https://www.googleapis.com/auth/webmasters.readonly"
    assert (first["code_challenge_method"], len(first["code_challenge"])) == ("S256", 43)
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]
    assert "code_challenge" not in query_of(browser.leave(world.link("bing", user)))


def test_the_browser_is_sent_back_where_it_was_to_go(world: World, browser: Browser, user: str) -> None:
    """After a success `redirect_to` learns the connection's id; its own query and fragment stay."""
    link = world.link("strict", user, redirect_to=f"{APP}/onboarding?step=5#done")
    answer = browser.consent(link)

    (row,) = world.connections(user)
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location == f"{APP}/onboarding?step=5&connection={row['id']}&status=connected#done"


def test_a_shop_is_a_part_of_the_address(world: World, browser: Browser, user: str) -> None:
    """URL variables, and what token requests need beside, are given with the link, kept in the connection's
    metadata, and need not be given again."""
    refused = world.api.get("/oauth/window/connect", params={"user_id": user})
    wrong = world.api.get("/oauth/window/connect", params={"user_id": user, "shop": "evil.example"})
    browser.consent(world.link("window", user, shop="window", plan="pro"))
    again = browser.leave(world.link("window", user))

    for answer in (refused, wrong):
        assert answer.status_code == 400
        assert answer.json()["code"] == "variable_wrong"
        assert "shop: the shop's name, such as window" in answer.json()["detail"]
        assert "plan: window needs it to refresh" in answer.json()["detail"]
    (row,) = world.connections(user)
    assert row["metadata"] == {"shop": "window", "plan": "pro"}
    assert "/window/authorize?" in again


def test_scopes_are_asked_for_in_addition(world: World, browser: Browser, user: str) -> None:
    """Whoever wants more gets what was granted before as well, on the same connection."""
    first = world.connect("strict", user)
    asked = query_of(browser.leave(world.link("strict", user, scopes="write")))["scope"]
    page = browser.consent(world.link("strict", user, scopes="write"))

    assert asked == "write read"
    assert "is connected" in page.text
    (row,) = world.connections(user)
    assert (row["id"], sorted(row["scope"])) == (first, ["read", "write"])
    assert world.activity(user) == [("connected", None), ("reconnected", None)]


def test_a_scope_that_was_not_given_is_told(world: World, browser: Browser, user: str) -> None:
    """On the page, at `redirect_to`, in the activity and by one alert, which a fuller consent resolves."""
    page = browser.consent(world.link("strict", user, scopes="read write"), granted="read")
    (row,) = world.connections(user)
    after = browser.consent(
        world.link("strict", user, scopes="read write", redirect_to=f"{APP}/back"), granted="read"
    )
    (told,) = world.rows("SELECT detail FROM activity WHERE connection_id = %s LIMIT 1", row["id"])

    assert "<code>write</code>" in page.text
    assert "did not give all" in page.text
    assert row["scope"] == ["read"]
    assert told["detail"]["missing"] == ["write"]
    assert query_of(after.headers["location"])["missing_scopes"] == "write"
    assert world.alerts(row["id"]) == [("scope_shortfall", "resolved"), ("scope_shortfall", "open")]
    browser.consent(world.link("strict", user, scopes="read write"))
    assert {status for _, status in world.alerts(row["id"])} == {"resolved"}


def test_an_answer_that_names_scopes_otherwise_is_understood(
    world: World, browser: Browser, user: str
) -> None:
    """What the definition gives as another name of a scope is no shortfall."""
    granted = (
        "openid https://www.googleapis.com/auth/userinfo.email "
        "https://www.googleapis.com/auth/webmasters.readonly"
    )
    page = browser.consent(world.link("gsc", user), granted=granted)

    (row,) = world.connections(user)
    assert "You can close this page" in page.text
    assert row["scope"] == granted.split()
    assert world.alerts(row["id"]) == []
    # Asked for anew it is asked for by the name that can be asked for.
    assert query_of(browser.leave(world.link("gsc", user)))["scope"].split()[:2] == ["openid", "email"]


@pytest.mark.parametrize(
    ("provider_id", "wish", "status", "code"),
    [
        ("nobody", {}, 404, "unknown_provider"),
        ("unconfigured", {}, 409, "provider_not_configured"),
        ("wix-app", {}, 409, "not_connectable"),
        ("strict", {"scopes": "read everything"}, 400, "scope_unknown"),
        ("strict", {"scopes": " "}, 400, "scope_wrong"),
        ("wix", {"scopes": "a\x00b"}, 400, "scope_wrong"),
        ("wix", {"scopes": "read,write"}, 400, "scope_wrong"),
        ("wix", {"scopes": "lesen-für-alle"}, 400, "scope_wrong"),
        ("window", {"shop": "window", "plan": "a\x00b"}, 400, "variable_wrong"),
        ("strict", {"shop": "evergreen"}, 400, "parameter_unknown"),
        ("strict", {"user_id": ""}, 422, "request_invalid"),
        ("strict", {"user_id": "a\x00b"}, 422, "request_invalid"),
        ("strict", {"account_id": "x" * 256}, 422, "request_invalid"),
    ],
)
def test_what_could_never_connect_is_said_at_once(
    world: World, user: str, provider_id: str, wish: dict[str, str], status: int, code: str
) -> None:
    """No link is made for it; the problem document names what is wrong."""
    answer = world.api.get(f"/oauth/{provider_id}/connect", params={"user_id": user, **wish})

    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["type"] == f"urn:evergrant:problem:{code}"


def test_no_link_without_a_key(world: World, user: str) -> None:
    """Without a key, or with another one, nothing is said but that one is needed."""
    for headers in (
        {},
        {"Authorization": "Bearer admin-key-of-the-tests-4712"},
        {"Authorization": "Basic x"},
    ):
        answer = world.api.get(
            "/oauth/strict/connect",
            params={"user_id": user},
            headers={"Authorization": "", **headers},
        )

        assert (answer.status_code, answer.json()["code"]) == (401, "key_required")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_two_windows_do_not_disturb_each_other(world: World, browser: Browser, user: str) -> None:
    """Two flows of one browser have a cookie each, and end in either order."""
    first, second = (browser.leave(world.link("strict", user)) for _ in range(2))
    comes_second = browser.decide(first, **{"as": "alice"})
    comes_first = browser.decide(second, **{"as": "bob"})

    assert browser.get(comes_first).status_code == 200
    assert browser.get(comes_second).status_code == 200
    assert {row["account_id"] for row in world.connections(user)} == {"alice", "bob"}


def test_a_code_without_its_verifier_is_worthless(world: World, browser: Browser, user: str) -> None:
    """The provider was shown a challenge that only we can answer: with another one our exchange fails."""
    authorization = browser.leave(world.link("strict", user))
    forged = with_query(authorization, code_challenge="A" * 43)
    page = browser.get(browser.decide(forged))

    assert page.status_code == 502
    assert "did not confirm" in page.text
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "exchange_refused")]
