"""State, code, verifier, cookie, device code and key reach no log, no table and no Redis in the clear."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.acceptance.leaks import Wiretap, database_as_bytes, leaks, redis_as_bytes
from tests.api.browser import Browser, query_of
from tests.api.world import ADMIN_KEY, World

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def test_no_secret_of_a_flow_is_found_anywhere(world: World, browser: Browser, user: str) -> None:
    """Through a connection that is made, one that is refused in every way, and one by a device: everything
    that was secret for a moment is searched for in everything that stays."""
    needles: dict[str, bytes] = {"key": ADMIN_KEY.encode()}

    def remember(name: str, callback: str, cookies: dict[str, str]) -> None:
        query = query_of(callback)
        needles[f"state of {name}"] = query["state"].encode()
        if "code" in query:
            needles[f"code of {name}"] = query["code"].encode()
        for number, value in enumerate(cookies.values()):
            needles[f"cookie {number} of {name}"] = value.encode()

    with Wiretap(world.deployment.redis_url) as wiretap:
        # Still open while it is looked at: a flow that nobody has finished.
        open_flow = browser.leave(world.link("strict", user))
        needles["open state"] = query_of(open_flow)["state"].encode()
        for name, decision, fault in (
            ("a success", {}, None),
            ("a refusal", {"decision": "deny"}, None),
            ("a failed exchange", {}, "invalid_grant"),
            ("a cut exchange", {}, "drop_after"),
        ):
            link = world.link("strict", user)
            with Browser() as another:
                callback = another.decide(another.leave(link), **decision)
                remember(name, callback, dict(another.client.cookies))
                if fault is not None:
                    world.deployment.simulator.fault(fault, dialect="strict")
                another.get(callback)
                another.get(callback)
            browser.get(callback)
        shown = world.api.post("/oauth/strict/device", json={"user_id": user}).json()
        world.api.get(f"/oauth/strict/device/{shown['flow']}")
        heard = wiretap.heard
    for grant in world.deployment.simulator.lives(owner=""):
        if grant["dialect"] == "strict":
            kept = world.deployment.simulator.grant(str(grant["grant_id"]), tokens=True)
            needles |= {
                f"{kind} of {grant['grant_id']}": kept[kind].encode()
                for kind in ("access_token", "refresh_token")
            }
    needles |= {"device code": b"sim-device-", "any code": b"sim-code-"}

    assert dict(parse_qsl(urlsplit(open_flow).query))["code_challenge_method"] == "S256"
    assert (
        leaks(
            {
                "log": world.log.encode(),
                "database": database_as_bytes(world.deployment.database_url),
                "redis": redis_as_bytes(world.deployment.redis_url),
                "commands": heard,
            },
            needles,
        )
        == []
    )
    # The search would find it: what may be written is there.
    assert '"route": "/oauth/{provider_id}/callback"' in world.log
    assert "uvicorn.access" not in world.log
    assert "Traceback" not in world.log
