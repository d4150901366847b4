"""The built-in definitions against a provider that speaks each dialect and counts what reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    Malformed,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from domain.provider import GrantKind, Replay
from domain.token import Answer, Credentials
from providers.app_credentials import AppCredentials
from providers.catalogue import load
from providers.client import ProviderClient
from providers.definition import ProviderDefinition
from providers.http import Wire
from simulator.client import MintedGrant
from simulator.process import SimulatorProcess
from tests.providers.making import acme

DEADLINE = timedelta(seconds=20)
#: provider id -> (the simulator's dialect, the prefix its paths carry before the provider's own).
DIALECTS = {
    "bing": ("bing", "/bing"),
    "wordpress": ("wordpress", "/wordpress"),
    "wix": ("wix", "/wix"),
    "wix-app": ("wix-app", "/wix"),
    "wix-legacy": ("wix-legacy", "/wix"),
    "gsc": ("google", "/google"),
    "strict": ("strict", ""),
    "basic": ("strict", ""),
}
REFRESHING = ["gsc", "bing", "wix", "wix-app", "wix-legacy", "strict", "basic"]
CATALOGUE = load()


@pytest.fixture(scope="module")
def client() -> Iterator[ProviderClient]:
    wire = Wire()
    yield ProviderClient(wire)
    wire.close()


class Meeting:
    """A provider's definition, pointed at the simulator, and a fresh grant of it."""

    def __init__(self, client: ProviderClient, simulator: SimulatorProcess, provider_id: str) -> None:
        self.client, self.simulator = client, simulator
        self.dialect, prefix = DIALECTS[provider_id]
        settings = simulator.client.dialects()[self.dialect]
        self.definition = self._definition(provider_id, prefix, settings["token_path"])
        self.app = AppCredentials(
            settings["settings"]["client_id"], SecretStr(settings["settings"]["client_secret"])
        )
        self.grant: MintedGrant = simulator.client.mint(self.dialect)[0]
        refresh_token = self.grant.refresh_token
        self.credentials = Credentials(
            SecretStr(self.grant.access_token), None if refresh_token is None else SecretStr(refresh_token)
        )

    def _definition(self, provider_id: str, prefix: str, token_path: str) -> ProviderDefinition:
        base = self.simulator.base_url
        if provider_id in ("strict", "basic"):
            auth = "client_secret_basic" if provider_id == "basic" else "client_secret_post"
            check = {"url": f"{base}/strict/userinfo", "scope_member": "scope"}
            return acme(token_url=base + token_path, client_auth=auth, check=check)
        built_in = CATALOGUE.get(provider_id)
        assert built_in.check is not None
        check_url = base + prefix + urlsplit(built_in.check.url).path
        check_table = built_in.check.model_copy(update={"url": check_url})
        return built_in.model_copy(update={"token_url": base + token_path, "check": check_table})

    def refresh(self, credentials: Credentials | None = None) -> Answer:
        return self.client.refresh(
            self.definition, self.app, credentials or self.credentials, self.grant.metadata, deadline=DEADLINE
        )

    def refused(self) -> type[ProviderError]:
        with pytest.raises(ProviderError) as caught:
            self.refresh()
        return type(caught.value)


@pytest.mark.parametrize("provider_id", REFRESHING)
def test_a_refresh_brings_a_token_that_passes_the_check(
    client: ProviderClient, simulator: SimulatorProcess, provider_id: str
) -> None:
    """Twice in a row, with the rotated token where the provider rotates."""
    meeting = Meeting(client, simulator, provider_id)

    answer = meeting.refresh()
    again = meeting.refresh(
        Credentials(answer.access_token, answer.refresh_token or meeting.credentials.refresh_token)
    )
    client.check(meeting.definition, meeting.app, again.access_token, deadline=DEADLINE)

    assert answer.access_token != meeting.credentials.access_token
    assert answer.expires_in is not None
    assert (answer.refresh_token is not None) >= (provider_id in ("strict", "basic"))
    assert simulator.client.incidents() == []


@pytest.mark.parametrize("provider_id", [*REFRESHING, "wordpress"])
def test_a_check_tells_a_living_token_from_a_revoked_one(
    client: ProviderClient, simulator: SimulatorProcess, provider_id: str
) -> None:
    meeting = Meeting(client, simulator, provider_id)
    token = meeting.credentials.access_token
    client.check(meeting.definition, meeting.app, token, deadline=DEADLINE)

    simulator.client.revoke([meeting.grant.grant_id])

    with pytest.raises(ProviderError) as caught:
        client.check(meeting.definition, meeting.app, token, deadline=DEADLINE)
    # Bing answers NotAuthorized for a dead grant, which may as well mean a right that is missing.
    assert (type(caught.value) is GrantRejected) == (provider_id != "bing")


@pytest.mark.parametrize("provider_id", [p for p in REFRESHING if p != "wix-app"])
def test_a_revoked_grant_is_rejected(
    client: ProviderClient, simulator: SimulatorProcess, provider_id: str
) -> None:
    meeting = Meeting(client, simulator, provider_id)
    simulator.client.revoke([meeting.grant.grant_id])

    assert meeting.refused() is GrantRejected


@pytest.mark.parametrize("provider_id", [p for p in REFRESHING if p != "wix"])
def test_a_wrong_secret_implicates_us_and_not_the_grant(
    client: ProviderClient, simulator: SimulatorProcess, provider_id: str
) -> None:
    meeting = Meeting(client, simulator, provider_id)
    meeting.app = AppCredentials(meeting.app.client_id, SecretStr("wrong"))

    assert meeting.refused() is ClientMisconfigured


@pytest.mark.parametrize("provider_id", REFRESHING)
@pytest.mark.parametrize(
    ("fault", "order", "kind"),
    [
        ("status", {"status": 429, "retry_after": 7}, RateLimited),
        ("status", {"status": 503}, Unavailable),
        ("status", {"status": 500}, None),
        ("drop_before", {}, OutcomeUnknown),
        ("drop_after", {}, OutcomeUnknown),
        ("invalid_json", {}, Malformed),
        ("truncated_body", {}, OutcomeUnknown),
        ("not_http", {}, OutcomeUnknown),
        ("redirect", {}, ClientMisconfigured),
        ("invalid_client", {}, ClientMisconfigured),
        ("error_in_200", {"error": "invalid_grant"}, GrantRejected),
    ],
)
def test_a_fault_is_told_by_what_to_do_next(
    client: ProviderClient,
    simulator: SimulatorProcess,
    provider_id: str,
    fault: str,
    order: dict[str, Any],
    kind: type[ProviderError] | None,
) -> None:
    """A server error is a doubt exactly where a lost answer cannot be asked for again."""
    meeting = Meeting(client, simulator, provider_id)
    simulator.client.fault(fault, dialect=meeting.dialect, **order)
    if kind is None:
        kind = Unavailable if meeting.definition.replay is Replay.FREELY else OutcomeUnknown

    assert meeting.refused() is kind


@pytest.mark.parametrize("provider_id", REFRESHING)
def test_an_answer_under_a_wrong_content_type_is_understood(
    client: ProviderClient, simulator: SimulatorProcess, provider_id: str
) -> None:
    meeting = Meeting(client, simulator, provider_id)
    simulator.client.fault("wrong_content_type", dialect=meeting.dialect)

    assert meeting.refresh().access_token != meeting.credentials.access_token


def test_what_refreshes_is_what_the_catalogue_says() -> None:
    """No built-in provider that refreshes and that the simulator has a dialect of is missing above."""
    played = [CATALOGUE.get(provider_id) for provider_id in DIALECTS if provider_id in CATALOGUE]

    assert {d.id for d in played if d.grant is not GrantKind.NONE} <= set(REFRESHING)
