"""Each dialect speaks as its provider's documentation says."""

from __future__ import annotations

import httpx2
import pytest

from simulator.process import SimulatorProcess
from tests.simulator.speaking import provider
from tests.support.waiting import eventually

EXPIRING = ["google", "bing", "wix", "wix-app", "wix-legacy", "strict", "window"]
LIFETIMES = {"google": 3600, "bing": 3599, "wix": 14_400, "wix-app": 14_400, "wix-legacy": 300}
CHECKED_AS_DEAD = {
    "google": (401, "error", None),
    "bing": (400, "ErrorCode", 14),
    "wordpress": (400, "error", "invalid_request"),
    "wix": (200, "active", False),
    "wix-app": (200, "active", False),
    "wix-legacy": (200, "active", False),
    "strict": (401, "error", "invalid_token"),
    "window": (401, "error", "invalid_token"),
}


@pytest.mark.parametrize("dialect", EXPIRING)
def test_refresh_gives_an_access_token_that_the_check_accepts(
    simulator: SimulatorProcess, dialect: str
) -> None:
    """A refresh answers 200 with a new bearer token of the documented lifetime, and the check takes it."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint()

        answer = speaker.refresh(grant)

        content = answer.json()
        assert (answer.status_code, content["token_type"]) == (200, "Bearer")
        assert LIFETIMES.get(dialect, 3600) == content["expires_in"]
        assert content["access_token"] != grant.access_token
        assert answer.headers["cache-control"] == "no-store"
        assert speaker.check(content["access_token"]).status_code == 200
        assert tuple(speaker.report()[name] for name in ("presentations", "refreshed", "checks")) == (1, 1, 1)


@pytest.mark.parametrize("dialect", EXPIRING)
def test_what_becomes_of_the_refresh_token(simulator: SimulatorProcess, dialect: str) -> None:
    """Google omits it, Bing and Wix repeat it, Wix apps have none, the generic ones rotate it."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint()

        answered = speaker.refresh(grant).json().get("refresh_token")

        if dialect in ("google", "wix-app"):
            assert answered is None
        elif dialect in ("strict", "window"):
            assert answered.startswith(f"sim-rt-{dialect}-")
            assert answered != grant.refresh_token
        else:
            assert answered == grant.refresh_token


@pytest.mark.parametrize("dialect", CHECKED_AS_DEAD)
def test_a_revoked_grant_is_dead_for_check_and_refresh(simulator: SimulatorProcess, dialect: str) -> None:
    """Once revoked, a grant's access token fails the check in the dialect's words, and no refresh works."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint()
        assert simulator.client.revoke([grant.grant_id]) == {"revoked": [grant.grant_id], "already_dead": []}

        checked = speaker.check(grant.access_token)
        refreshed = speaker.refresh(grant)

        status, key, value = CHECKED_AS_DEAD[dialect]
        assert checked.status_code == status
        assert value is None or checked.json()[key] == value
        expected = "unsupported_grant_type" if dialect == "wordpress" else "invalid_grant"
        assert (400, expected) == (refreshed.status_code, refreshed.json()["error"])
        assert grant.grant_id in speaker.report()["grants"]["dead_ids"]["revoked"]


@pytest.mark.parametrize(
    "dialect", ["google", "bing", "wordpress", "wix-app", "wix-legacy", "strict", "window"]
)
def test_a_wrong_secret_is_invalid_client(simulator: SimulatorProcess, dialect: str) -> None:
    """A wrong secret is 401 invalid_client, spends no token, and still counts as a presentation."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint()

        refused = speaker.refresh(grant, client_secret="not-it")

        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        if dialect != "wordpress":
            assert speaker.refresh(grant).status_code == 200
            assert (
                speaker.report()["presentations"],
                speaker.report()["rejected"],
            ) == (2, {"invalid_client": 1})


@pytest.mark.parametrize("dialect", EXPIRING)
def test_unknown_tokens_and_grant_types_are_refused(simulator: SimulatorProcess, dialect: str) -> None:
    """A made-up credential is invalid_grant, an unknown grant type unsupported_grant_type."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint()
        names = {"wix": ("refreshToken", "grantType"), "wix-app": ("instance_id", "client_secret")}
        credential, grant_type = names.get(dialect, ("refresh_token", "grant_type"))

        made_up = speaker.refresh(grant, **{credential: "sim-rt-made-up.0"})

        assert (made_up.status_code, made_up.json()["error"]) == (400, "invalid_grant")
        if dialect != "wix-app":
            odd = speaker.refresh(grant, **{grant_type: "password"})
            assert (odd.status_code, odd.json()["error"]) == (400, "unsupported_grant_type")


def test_a_token_of_one_client_is_no_use_to_another(simulator: SimulatorProcess) -> None:
    """A refresh token presented by another app of the provider is invalid_grant (RFC 6749 §5.2)."""
    simulator.client.configure("strict", other_clients={"tenant-b": "secret-b"})
    with provider(simulator, "strict") as speaker:
        ours, theirs = speaker.mint(), speaker.mint(client_id="tenant-b")
        as_b = {"client_id": "tenant-b", "client_secret": "secret-b"}

        assert speaker.refresh(ours, **as_b).json()["error"] == "invalid_grant"
        assert speaker.refresh(theirs).json()["error"] == "invalid_grant"
        assert speaker.refresh(theirs, **as_b).status_code == 200
        assert speaker.refresh(ours).status_code == 200


def test_http_basic_is_understood_by_the_generic_dialects(simulator: SimulatorProcess) -> None:
    """Credentials may come by HTTP Basic; a wrong one is challenged, and two ways at once are refused."""
    with provider(simulator, "strict") as speaker:
        form = {"grant_type": "refresh_token", "refresh_token": speaker.mint().refresh_token or ""}
        good, bad = ("sim-strict-client", "sim-strict-secret"), ("sim-strict-client", "no")

        challenged = speaker.http.post(speaker.path, data=form, auth=bad)
        twice = speaker.http.post(speaker.path, data=form | {"client_secret": "sim-strict-secret"}, auth=good)
        accepted = speaker.http.post(speaker.path, data=form, auth=good)

        assert challenged.status_code == 401
        assert challenged.headers["www-authenticate"].startswith("Basic")
        assert twice.json()["error"] == "invalid_request"
        assert accepted.status_code == 200


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"grant_type":"refresh_token"}', "application/json"),
        (b"grant_type=refresh_token&grant_type=refresh_token", "application/x-www-form-urlencoded"),
    ],
    ids=["json", "repeated"],
)
def test_a_malformed_form_is_invalid_request(
    simulator: SimulatorProcess, body: bytes, media_type: str
) -> None:
    """A body that is no form, or repeats a parameter, is invalid_request (RFC 6749 §3.2)."""
    with provider(simulator, "strict") as speaker:
        refused = speaker.http.post(speaker.path, content=body, headers={"Content-Type": media_type})

        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
        assert (speaker.report()["token_requests"], speaker.report()["presentations"]) == (1, 0)


@pytest.mark.parametrize("dialect", ["google", "bing", "wix", "strict"])
def test_an_expired_access_token_is_refused_and_counted(simulator: SimulatorProcess, dialect: str) -> None:
    """After its lifetime an access token fails the check, and the report counts use and lapse."""
    with provider(simulator, dialect) as speaker:
        grant = speaker.mint(lifetime=1)

        answer = eventually(lambda: _refused(speaker.check(grant.access_token), dialect))
        refreshed = speaker.refresh(grant)

        assert answer is not None
        if dialect == "bing":
            assert answer.json()["ErrorCode"] == 18
        assert refreshed.json()["expires_in"] == 1
        report = speaker.report()
        assert report["expired_token_uses"] == report["check_results"]["expired"] == 1
        assert report["lapses"] == 1
        assert report["max_lapse_seconds"] > 0


def _refused(answer: httpx2.Response, dialect: str) -> httpx2.Response | None:
    refused = answer.json() == {"active": False} if dialect == "wix" else answer.status_code >= 400
    return answer if refused else None


def test_google_asks_for_the_scope(simulator: SimulatorProcess) -> None:
    """A grant without a Search Console scope passes the refresh and fails the check with 403."""
    with provider(simulator, "google") as speaker:
        grant = speaker.mint(scope="openid email")

        checked = speaker.check(grant.access_token)

        assert (checked.status_code, checked.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert speaker.refresh(grant).json()["scope"] == "openid email"


def test_google_revokes_siblings_together(simulator: SimulatorProcess) -> None:
    """Revoking one grant of a user kills the user's other grants to the same app, and nobody else's."""
    with provider(simulator, "google") as speaker:
        first, sibling = speaker.mint(user="siblings"), speaker.mint(user="siblings")
        stranger = speaker.mint(user="somebody else")

        revoked = speaker.http.post("/google/revoke", data={"token": first.refresh_token or ""})
        again = speaker.http.post("/google/revoke", params={"token": first.refresh_token or ""})

        assert (revoked.status_code, again.status_code) == (200, 400)
        assert again.json()["error"] == "invalid_token"
        assert speaker.refresh(sibling).json()["error"] == "invalid_grant"
        assert speaker.refresh(stranger).status_code == 200


def test_revocation_by_the_book(simulator: SimulatorProcess) -> None:
    """RFC 7009: the client authenticates, a token that is none is still 200, a real one ends its grant."""
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        client = {"client_id": "sim-strict-client", "client_secret": "sim-strict-secret"}

        stranger = speaker.http.post("/strict/revoke", data={"token": grant.access_token})
        nothing = speaker.http.post("/strict/revoke", data=client | {"token": "none"})
        assert simulator.client.grant(grant.grant_id)["alive"]
        real = speaker.http.post("/strict/revoke", data=client | {"token": grant.access_token})

        assert (stranger.status_code, nothing.status_code, real.status_code) == (401, 200, 200)
        assert simulator.client.grant(grant.grant_id)["dead_reason"] == "revoked_by_client"


def test_wordpress_tokens_never_expire(simulator: SimulatorProcess) -> None:
    """WordPress.com gives no refresh token and no end; token-info names blog and client."""
    with provider(simulator, "wordpress") as speaker:
        grant = speaker.mint()

        content = speaker.check(grant.access_token).json()

        assert (grant.refresh_token, grant.expires_in, grant.expires_at) == (None, None, None)
        assert content["client_id"] == "sim-wordpress-client"
        assert content["blog_id"] == grant.metadata["blog_id"]
        assert {"client_id", "user_id", "blog_id", "scope"} == set(content)


def test_wix_headless_wants_camel_case(simulator: SimulatorProcess) -> None:
    """Form or JSON will do, snake_case only where the setting says so, and no secret is asked for."""
    with provider(simulator, "wix") as speaker:
        token = speaker.mint().refresh_token or ""
        camel = {"clientId": "sim-wix-client", "grantType": "refresh_token", "refreshToken": token}
        snake = {"client_id": "sim-wix-client", "grant_type": "refresh_token", "refresh_token": token}

        assert speaker.http.post(speaker.path, data=camel).status_code == 200
        assert speaker.http.post(speaker.path, json=snake).json()["error"] == "invalid_client"
        assert speaker.http.post(speaker.path, json=camel | {"clientId": "?"}).status_code == 401
        simulator.client.configure("wix", accept_snake_case=True)
        assert speaker.http.post(speaker.path, data=snake).status_code == 200


def test_wix_token_info_tells_the_modes_apart(simulator: SimulatorProcess) -> None:
    """One token-info serves all three modes and names client and instance."""
    for dialect in ("wix", "wix-app", "wix-legacy"):
        with provider(simulator, dialect) as speaker:
            grant = speaker.mint()

            content = speaker.check(grant.access_token).json()

            assert content["active"] is True
            assert content["clientId"] == f"sim-{dialect}-client"
            assert content["instanceId"] == grant.metadata["instance_id"]
            assert isinstance(content["exp"], int)


def test_bing_may_close_one_of_its_token_urls(simulator: SimulatorProcess) -> None:
    """Both documented token URLs work until the setting leaves only one."""
    with provider(simulator, "bing") as speaker:
        grant = speaker.mint()
        speaker.path = "/bing/webmasters/token"
        assert speaker.refresh(grant).status_code == 200

        simulator.client.configure("bing", token_paths="oauth/token")

        assert speaker.refresh(grant).status_code == 404


@pytest.mark.parametrize(("said", "expected"), [("int", 3600), ("string", "3600"), ("missing", None)])
def test_the_lifetime_is_said_in_three_ways(
    simulator: SimulatorProcess, said: str, expected: int | str | None
) -> None:
    """expires_in comes as a number, as a string or not at all, as the setting says."""
    simulator.client.configure("strict", expires_in=said)
    with provider(simulator, "strict") as speaker:
        assert speaker.refresh(speaker.mint()).json().get("expires_in") == expected


def test_odd_error_habits(simulator: SimulatorProcess) -> None:
    """A dead grant can be 403 (Atlassian), invalid_request (Semrush), or come in a 200 (GitHub)."""
    with provider(simulator, "strict") as speaker:
        grant = speaker.mint()
        simulator.client.revoke([grant.grant_id])

        simulator.client.configure("strict", dead_grant_status=403)
        assert speaker.refresh(grant).status_code == 403
        simulator.client.configure("strict", dead_grant_error="invalid_request")
        assert speaker.refresh(grant).json()["error"] == "invalid_request"
        simulator.client.configure("strict", errors_in_200=True)
        assert speaker.refresh(grant).status_code == 200


def test_a_changed_secret_locks_the_old_one_out(simulator: SimulatorProcess) -> None:
    """When the app's secret changes at the provider, the old one is invalid_client."""
    simulator.client.configure("google", client_secret="sim-google-new")
    with provider(simulator, "google") as speaker:
        grant = speaker.mint()

        assert speaker.refresh(grant).status_code == 401
        assert speaker.refresh(grant, client_secret="sim-google-new").status_code == 200


def test_other_paths_and_methods(simulator: SimulatorProcess) -> None:
    """An unknown path is 404; a known one with the wrong method is 405 with Allow."""
    with provider(simulator, "strict") as speaker:
        wrong = speaker.http.get("/strict/token")

        assert speaker.http.get("/nothing").status_code == 404
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
