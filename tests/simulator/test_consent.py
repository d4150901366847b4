"""Where people consent at the simulator: codes, proofs, refusals, and codes for devices."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from simulator.process import SimulatorProcess
from tests.simulator.speaking import Provider, provider
from tests.support.waiting import eventually

BACK = "http://127.0.0.1:1/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
AUTHORIZE = {
    "google": "/google/auth",
    "bing": "/bing/webmasters/oauth/authorize",
    "wordpress": "/wordpress/oauth2/authorize",
    "wix": "/wix/oauth2/authorize",
    "strict": "/strict/authorize",
    "window": "/window/authorize",
}


def consent(speaker: Provider, **changed: str) -> httpx2.Response:
    asked = {
        "response_type": "code",
        "client_id": f"sim-{speaker.dialect}-client",
        "redirect_uri": BACK,
        "state": "s-1",
        "scope": "read",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "decision": "agree",
        **changed,
    }
    return speaker.http.get(AUTHORIZE[speaker.dialect], params=asked)


def brought(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 302, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def exchange(speaker: Provider, code: str, **changed: str) -> httpx2.Response:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
        "client_id": f"sim-{speaker.dialect}-client",
        **changed,
    }
    if speaker.dialect == "wix":
        camel = {"grant_type": "grantType", "redirect_uri": "redirectUri", "code_verifier": "codeVerifier",
                 "client_id": "clientId"}  # fmt: skip
        return speaker.http.post(speaker.path, json={camel.get(name, name): fields[name] for name in fields})
    return speaker.http.post(speaker.path, data={**fields, "client_secret": f"sim-{speaker.dialect}-secret"})


@pytest.mark.parametrize("dialect", AUTHORIZE)
def test_a_consent_becomes_a_grant(simulator: SimulatorProcess, dialect: str) -> None:
    """The browser is sent back with state and code, and the code becomes tokens that the check takes."""
    with provider(simulator, dialect) as speaker:
        back = brought(consent(speaker))
        answer = exchange(speaker, back["code"])

        assert back["state"] == "s-1"
        content = answer.json()
        assert answer.status_code == 200, content
        assert ("refresh_token" in content) == (dialect != "wordpress")
        scope = "https://www.googleapis.com/auth/webmasters" if dialect == "google" else "read"
        again = exchange(speaker, brought(consent(speaker, scope=scope))["code"]).json()
        assert speaker.check(again["access_token"]).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [{"code_verifier": "w" * 43}, {"redirect_uri": "http://127.0.0.1:1/other"}, {"code": "made-up"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_code_is_for_who_asked(simulator: SimulatorProcess, wrong: dict[str, str]) -> None:
    """Another verifier, another redirect URI or another code is refused as invalid_grant."""
    with provider(simulator, "strict") as speaker:
        code = brought(consent(speaker))["code"]
        answer = exchange(speaker, **{"code": code, **wrong})

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_code_that_comes_twice_ends_its_grant(simulator: SimulatorProcess) -> None:
    """RFC 6749 §4.1.2: what it was exchanged for is revoked."""
    with provider(simulator, "strict") as speaker:
        code = brought(consent(speaker))["code"]
        first = exchange(speaker, code).json()
        second = exchange(speaker, code)

        assert second.json()["error"] == "invalid_grant"
        assert speaker.check(first["access_token"]).status_code == 401


def test_a_person_is_asked_and_may_refuse(simulator: SimulatorProcess) -> None:
    """Without a decision there is a page; a refusal, and what the app did wrong, comes back as an error; an
    unknown app is sent nowhere."""
    with provider(simulator, "strict") as speaker:
        page = consent(speaker, decision="")
        assert page.status_code == 200
        assert "Agree as alice" in page.text
        assert brought(consent(speaker, decision="deny"))["error"] == "access_denied"
        assert brought(consent(speaker, code_challenge_method="plain"))["error"] == "invalid_request"
        assert consent(speaker, client_id="nobody").status_code == 400
        assert brought(consent(speaker))["iss"] == f"{simulator.base_url}/strict"


def test_a_device_waits_for_a_person(simulator: SimulatorProcess) -> None:
    """RFC 8628 §3.5: pending, slow_down to who hurries, then the tokens, once."""
    with provider(simulator, "strict") as speaker:
        app = {"client_id": "sim-strict-client", "client_secret": "sim-strict-secret"}
        shown = speaker.http.post("/strict/device_authorization", data={**app, "scope": "read"}).json()
        grant_type = "urn:ietf:params:oauth:grant-type:device_code"

        def poll() -> dict[str, Any]:
            asked = {**app, "grant_type": grant_type, "device_code": shown["device_code"]}
            content: dict[str, Any] = speaker.http.post("/strict/token", data=asked).json()
            return content

        assert poll()["error"] == "authorization_pending"
        assert poll()["error"] == "slow_down"
        assert "Agree" in speaker.http.get(shown["verification_uri_complete"]).text
        agreed = {"user_code": shown["user_code"], "decision": "agree", "as": "bob"}
        speaker.http.get(shown["verification_uri"], params=agreed)
        tokens = eventually(lambda: next((item for item in [poll()] if "access_token" in item), None))
        assert tokens is not None
        assert speaker.check(tokens["access_token"]).json()["account"] == "bob"
        assert poll()["error"] == "invalid_grant"


def test_the_page_is_readable_on_a_phone_and_in_the_dark(simulator: SimulatorProcess) -> None:
    """It has the phone's width, and its ground turns dark together with its ink."""
    with provider(simulator, "google") as speaker:
        page = consent(speaker, decision="")

    assert "name=viewport" in page.text
    assert ":root{color-scheme:light dark}" in page.text
