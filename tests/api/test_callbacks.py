"""Callbacks that are not taken: a clear page for the person, a line of activity, and no change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.api.browser import Browser, query_of, with_query
from tests.api.world import APP, World

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def assert_refused(page: httpx2.Response, status: int, says: str) -> None:
    __tracebackhide__ = True
    assert page.status_code == status, page.text
    assert page.headers["content-type"].startswith("text/html")
    assert says in page.text


def test_a_state_that_nobody_gave_out(world: World, browser: Browser) -> None:
    """It is told and recorded, about no connection; a missing and a repeated state are as good as none.
    Anybody can make such callbacks up: of a minute's so many are recorded, and no more."""
    callback = f"{world.url}/oauth/strict/callback"
    queries = ("state=made-up&code=x", "code=x", "state=a&state=a&code=x", "state=&code=x")
    for query in queries:
        assert_refused(browser.get(f"{callback}?{query}"), 400, "cannot be matched with a start")

    lines = "SELECT kind, code, provider_id, connection_id FROM activity WHERE code = 'state_unknown'"
    recorded = world.rows(lines)
    assert len(recorded) >= len(queries)
    assert recorded[0] == {
        "kind": "connect_failed", "code": "state_unknown", "provider_id": "strict", "connection_id": None,
    }  # fmt: skip
    for _ in range(130):
        assert browser.get(f"{callback}?state=made-up&code=x").status_code == 400
    # A minute may have begun anew in between.
    assert len(world.rows(lines)) - len(recorded) <= 120


def test_a_state_is_used_once(world: World, browser: Browser, user: str) -> None:
    """The second callback with the same state changes nothing, whatever became of the first."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    assert browser.get(callback).status_code == 200
    before = world.connections(user)

    assert_refused(browser.get(callback), 400, "cannot be matched with a start")
    assert world.connections(user) == before


def test_two_racing_callbacks_exchange_once(world: World, browser: Browser, user: str) -> None:
    """Of two callbacks with one state at the same moment one is taken, and the code is presented once."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    before = exchanges(world)
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: browser.get(callback), range(8)))

    assert sorted(page.status_code for page in pages) == [200] + [400] * 7
    assert exchanges(world) == before + 1
    assert len(world.connections(user)) == 1


def exchanges(world: World) -> int:
    results = world.deployment.simulator.report()["dialects"]["strict"]["results"]
    return (
        int(results.get("exchanged", 0))
        + int(results.get("unknown_code", 0))
        + int(results.get("code_reuse", 0))
    )


def test_a_state_that_has_expired(world: World, browser: Browser, user: str) -> None:
    """Ten minutes are for consenting; afterwards the person is told to begin again."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.change(
        "UPDATE connect_flows SET expires_at = now() - interval '1 second' WHERE user_id = %s RETURNING id",
        user,
    )

    assert_refused(browser.get(callback), 410, "That took too long")
    assert_refused(browser.get(callback), 400, "cannot be matched with a start")
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "state_expired")]


def test_another_browser_connects_nothing(world: World, browser: Browser, user: str) -> None:
    """The callback belongs to the browser that began, which also loses it once it turned up elsewhere; and a
    cookie of another flow does not do."""
    callback = browser.decide(browser.leave(world.link("strict", user, redirect_to=f"{APP}/back")))
    with Browser() as other:
        other.leave(world.link("strict", user))
        page = other.get(callback)

    assert_refused(page, 400, "started in another browser")
    assert APP not in page.text
    assert_refused(browser.get(callback), 400, "cannot be matched with a start")
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "another_browser")]


def test_another_providers_callback(world: World, browser: Browser, user: str) -> None:
    """A state is bound to the provider at which it was begun (RFC 9700 §4.4)."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    page = browser.get(callback.replace("/oauth/strict/", "/oauth/gsc/"))

    assert_refused(page, 400, "for another provider")
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "state_of_another_provider")]


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None])
def test_another_issuer(world: World, browser: Browser, user: str, issuer: str | None) -> None:
    """Where the definition names the issuer, the callback must (RFC 9207), and no code is exchanged
    otherwise."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    before = exchanges(world)

    assert_refused(browser.get(with_query(callback, iss=issuer)), 400, "does not come from Strict")
    assert exchanges(world) == before
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "issuer_mismatch")]


def test_a_person_who_says_no(world: World, browser: Browser, user: str) -> None:
    """The page says so and links back; an existing connection stays as it was."""
    kept = world.connect("strict", user)
    before = world.connections(user)
    link = world.link("strict", user, redirect_to=f"{APP}/onboarding?step=5")
    page = browser.consent(link, decision="deny")

    assert_refused(page, 400, "was not connected")
    assert "<code>access_denied</code>" in page.text
    assert f'href="{APP}/onboarding?step=5"' in page.text
    assert world.connections(user) == before
    assert world.activity(user)[-1] == ("connect_failed", "access_denied")
    (line,) = world.rows("SELECT connection_id::text FROM activity ORDER BY id DESC LIMIT 1")
    assert line["connection_id"] == kept


def test_an_error_in_the_providers_words_is_not_repeated(world: World, browser: Browser, user: str) -> None:
    """Anybody can write the address: only the codes of the specifications are shown, escaped or not."""
    page = browser.get(callback_with(world, browser, user, error="<b>call 555</b>"))
    known = browser.get(
        callback_with(world, browser, user, error="server_error", error_description="call 555")
    )

    for answer in (page, known):
        assert_refused(answer, 400, "did not agree")
        assert "call 555" not in answer.text
    assert "server_error" in known.text
    assert world.activity(user) == [("connect_failed", "provider_error")] * 2
    assert "call 555" not in world.log


def callback_with(world: World, browser: Browser, user: str, **changed: str) -> str:
    callback = browser.decide(browser.leave(world.link("strict", user)))
    return with_query(callback, code=None, **changed)


def test_a_callback_without_a_code(world: World, browser: Browser, user: str) -> None:
    """Neither code nor error: the person is told that the provider said nothing."""
    assert_refused(browser.get(callback_with(world, browser, user)), 400, "without an answer")
    assert world.activity(user) == [("connect_failed", "no_code")]


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ({"kind": "status", "status": 503, "count": 3}, 503, "cannot be reached"),
        ({"kind": "drop_after"}, 503, "cannot be reached"),
        ({"kind": "invalid_client"}, 502, "did not confirm"),
        ({"kind": "invalid_grant"}, 502, "did not confirm"),
        ({"kind": "invalid_json"}, 503, "cannot be reached"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_an_exchange_that_fails(
    world: World, browser: Browser, user: str, fault: dict[str, object], status: int, says: str
) -> None:
    """The person is told to begin again, an existing grant is untouched, and no refresh is stopped by it."""
    world.connect("strict", user)
    before = world.connections(user)
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.deployment.simulator.fault(**{"dialect": "strict", **fault})  # type: ignore[arg-type]  # keywords of one call

    assert_refused(browser.get(callback), status, says)
    assert world.connections(user) == before
    assert world.activity(user)[-1][0] == "connect_failed"
    assert world.rows("SELECT scope FROM provider_holds WHERE held_until IS NOT NULL") == []


def test_a_provider_that_refuses_our_app_is_told(world: World, browser: Browser, user: str) -> None:
    """Nobody can connect then: one alert says so and names the settings, and the next success resolves it."""

    def alerts() -> list[dict[str, object]]:
        return world.rows("SELECT status, count, help FROM alerts WHERE cause = 'provider:strict:connect'")

    before = len(alerts())
    for _ in range(2):
        callback = browser.decide(browser.leave(world.link("strict", user)))
        world.deployment.simulator.fault("invalid_client", dialect="strict")
        assert_refused(browser.get(callback), 502, "did not confirm")
    told = [alert for alert in alerts() if alert["status"] == "open"]
    assert [alert["count"] for alert in told] == [2]
    assert "/oauth/strict/callback" in str(told[0]["help"])
    world.connect("strict", user)
    assert [alert["status"] for alert in alerts()] == ["resolved"] * (before + 1)


def test_an_exchange_that_was_not_processed_is_made_again(world: World, browser: Browser, user: str) -> None:
    """A provider that says that it did nothing is asked once more, and the person notices nothing."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.deployment.simulator.fault("status", status=503, dialect="strict")

    assert browser.get(callback).status_code == 200
    assert len(world.connections(user)) == 1


def test_an_account_that_is_not_told_connects_nothing(world: World, browser: Browser, user: str) -> None:
    """A grant of nobody could take another one's place: it is not stored."""
    callback = browser.decide(browser.leave(world.link("strict", user)))
    world.deployment.simulator.fault("status", status=403, dialect="strict", endpoint="check")

    assert_refused(browser.get(callback), 502, "did not say which account")
    assert world.connections(user) == []
    assert world.activity(user) == [("connect_failed", "account_unknown")]


def test_pages_carry_nothing_from_elsewhere(world: World, browser: Browser, user: str) -> None:
    """No script, no image, no frame, no referrer, no copy in a cache; and what the provider calls people is
    escaped."""
    page = browser.consent(world.link("strict", user), **{"as": "<script>alert(1)</script>"})

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "style-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert query_of(world.link("strict", user)).keys() == {"link"}
