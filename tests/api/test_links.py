"""Connect links: signed, short-lived, for one user at one provider; and where they may lead in the end."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import SecretStr

from services.connecting.links import Link, Links
from simulator.process import SimulatorProcess
from storage.keys import KeyRing, generate
from storage.sealing_key import SealingKey
from storage.signing import Signer
from tests.api.browser import Browser, query_of, with_query
from tests.api.conftest import deployed
from tests.api.world import APP, World, start

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


def signed(world: World, user: str, *, keys: str = "", **changed: object) -> str:
    """Sign a link as a process with these keys does."""
    ring = KeyRing.parse(SecretStr(keys or world.deployment.keys))
    link = Link(provider_id="strict", user_id=user, scopes=("read",), expires_at=4102444800)
    links = Links(Signer(ring, SealingKey(ring.sealing_id), "connect-link"))
    token = links.write(link.model_copy(update=changed))
    return f"{world.url}/oauth/strict/begin?link={token}"


def test_a_link_that_was_changed_is_refused(world: World, browser: Browser, user: str) -> None:
    """Whoever changes the user, the provider, the end or a single character gets a page and no cookie."""
    link = world.link("strict", user)
    key_id, text, mac = query_of(link)["link"].split(".")
    said = json.loads(base64.urlsafe_b64decode(text + "=="))
    said["user_id"] = "somebody-else"
    forged = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    for changed in (
        f"{key_id}.{forged}.{mac}",
        f"{key_id}.{text}.{mac[:-2]}{'A' if mac[-2] != 'A' else 'B'}{mac[-1]}",
        f"{key_id}.{text}",
        f"other.{text}.{mac}",
        f"{key_id}.{text}.{mac}=",
        "",
        "é",
        "x" * 9000,
    ):
        page = browser.get(with_query(link, link=changed))

        assert page.status_code == 400
        assert "This link is not valid" in page.text
        assert "set-cookie" not in page.headers
    elsewhere = browser.get(link.replace("/oauth/strict/", "/oauth/gsc/"))
    assert elsewhere.status_code == 400
    assert browser.leave(link)


def test_a_link_expires(world: World, browser: Browser, user: str) -> None:
    """By Postgres' clock; the page leads back to where the person came from."""
    page = browser.get(signed(world, user, expires_at=1, redirect_to=f"{APP}/back"))

    assert page.status_code == 410
    assert "This link has expired" in page.text
    assert f'href="{APP}/back"' in page.text
    assert browser.leave(signed(world, user))


def test_a_link_does_not_lead_where_we_would_not(world: World, browser: Browser, user: str) -> None:
    """Also one that a process with another allow-list has signed."""
    page = browser.get(signed(world, user, redirect_to="https://elsewhere.example/"))

    assert page.status_code == 400
    assert "elsewhere" not in page.text


def test_behind_https_the_cookie_is_for_https_alone(
    migrated_database_url: str,
    redis_url: str,
    simulator: SimulatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
    user: str,
) -> None:
    """`__Host-`, Secure, HttpOnly and Lax; the redirect URI and every link are of the public URL."""
    folder = tmp_path_factory.mktemp("https")
    with deployed(folder, migrated_database_url, redis_url, simulator) as deployment:
        face = start(deployment, EVERGRANT_PUBLIC_URL="https://connect.example.com/base/")
        link = face.link("strict", user)
        answer = face.api.get(link.replace("https://connect.example.com/base", ""), follow_redirects=False)

        assert link.startswith("https://connect.example.com/base/oauth/strict/begin?link=")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-evergrant-connect-")
        assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
            "httponly", "max-age=600", "path=/", "samesite=lax", "secure",
        }  # fmt: skip
        asked = query_of(answer.headers["location"])
        assert asked["redirect_uri"] == "https://connect.example.com/base/oauth/strict/callback"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        face.api.close()


def test_a_link_of_other_keys_is_refused(world: World, browser: Browser, user: str) -> None:
    """A ring of our own makes no links, also under the same key id; nor does a signature for something
    else."""
    key_id = world.deployment.keys.partition(":")[0]
    assert browser.get(signed(world, user, keys=generate(key_id))).status_code == 400
    ring = KeyRing.parse(SecretStr(world.deployment.keys))
    other = Signer(ring, SealingKey(ring.sealing_id), "something-else").sign(b"{}")
    assert browser.get(f"{world.url}/oauth/strict/begin?link={other}").status_code == 400


def test_a_link_survives_a_change_of_keys() -> None:
    """It names its key: a ring that seals with another one and still holds this one takes it."""
    old, new = generate("old"), generate("new")
    before = KeyRing.parse(SecretStr(old))
    token = Signer(before, SealingKey("old"), "connect-link").sign(b"text")
    after = KeyRing.parse(SecretStr(f"{new},{old}"))

    assert Signer(after, SealingKey("new"), "connect-link").verify(token) == b"text"
    assert Signer(KeyRing.parse(SecretStr(new)), SealingKey("new"), "connect-link").verify(token) is None


@pytest.mark.parametrize(
    "redirect_to",
    [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://app.example.com:8443/",
        "http://app.example.com/",
        "//app.example.com/",
        "https:app.example.com/",
        "https://app.example.com\\@evil.example/",
        "https://app.example.com%2f@evil.example/",
        "javascript:alert(1)",
        "/relative",
        "https://evil.example/https://app.example.com/",
        "https://APP.example.com\t.evil.example/",
    ],
)
def test_an_address_outside_of_the_allowlist(world: World, user: str, redirect_to: str) -> None:
    """It is refused before anybody leaves, and the problem names the parameter and the setting."""
    answer = world.api.get("/oauth/strict/connect", params={"user_id": user, "redirect_to": redirect_to})

    assert (answer.status_code, answer.json()["code"]) == (400, "redirect_not_allowed")
    assert "redirect_to" in answer.json()["detail"]
    assert "EVERGRANT_REDIRECT_ALLOWLIST" in answer.json()["detail"]
    assert "evil" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "redirect_to",
    [
        f"{APP}/onboarding?step=5#x",
        "https://APP.example.com:443/",
        "http://localhost:3000/done",
        "{public}/oauth/done",
    ],
)
def test_an_address_inside_of_the_allowlist(world: World, user: str, redirect_to: str) -> None:
    """Exact origins, in any spelling of theirs, and the public URL's own."""
    wanted = redirect_to.format(public=world.url)
    answer = world.api.get("/oauth/strict/connect", params={"user_id": user, "redirect_to": wanted})

    assert answer.status_code == 200, answer.text
