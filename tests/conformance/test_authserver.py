"""The generic dialect against an authorization server that is not of our design: Authlib's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, GrantRejected, ProviderError
from domain.token import Credentials, TokenKind
from providers.app_credentials import AppCredentials
from providers.client import ProviderClient
from providers.connecting import Connected, prepare_code_exchange
from providers.definition import ProviderDefinition
from providers.definition_errors import define
from providers.http import Wire
from tests.support.authserver.process import CLIENTS, REDIRECT_URI, SCOPES, AuthServer

DEADLINE = timedelta(seconds=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthServer]:
    with AuthServer(tmp_path_factory.mktemp("authserver")) as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[ProviderClient]:
    wire = Wire()
    yield ProviderClient(wire)
    wire.close()


class Meeting:
    """A plain table that describes the server, and one of its clients."""

    def __init__(self, server: AuthServer, client: ProviderClient, method: str) -> None:
        self.server, self.client, self.registered = server, client, CLIENTS[method]
        self.app = self.as_client(self.registered.client_secret)
        self.definition = self.described_as(method)

    def as_client(self, secret: str) -> AppCredentials:
        public = self.registered.auth_method == "none"
        return AppCredentials(self.registered.client_id, None if public else SecretStr(secret))

    def described_as(self, method: str) -> ProviderDefinition:
        base = self.server.base_url
        table = {
            "display_name": "Authlib",
            "grant": "refresh_token",
            "authorize_url": f"{base}/authorize",
            "token_url": f"{base}/token",
            "revoke_url": f"{base}/revoke",
            "client_auth": method,
            "scopes": list(SCOPES),
            "rotation": "single_use",
            "replay_window": 0,
            "check": {
                "method": "POST",
                "url": f"{base}/introspect",
                "bearer": False,
                "body": {"token": "{access_token}", "client_id": "{client_id}"},
                "body_format": "form",
                "ok": {"member": "active", "equals": True},
                "scope_member": "scope",
                "expires_at_member": "exp",
            },
            "account": {"from": "request", "url": f"{base}/userinfo", "id": "sub", "label": "email"},
        }
        return define("authlib", table, source="test.toml")

    def code(self, verifier: str, **parameters: str) -> str:
        challenge = str(create_s256_code_challenge(verifier))
        callback = self.server.authorize(
            self.registered, code_challenge=challenge, code_challenge_method="S256", **parameters
        )
        return callback.parameters["code"]

    def connect(self, **parameters: str) -> Connected:
        verifier = secrets.token_urlsafe(48)
        return self.exchange(self.code(verifier, **parameters), verifier)

    def exchange(self, code: str, verifier: str | None) -> Connected:
        prepared = prepare_code_exchange(
            self.definition,
            self.app,
            code=SecretStr(code),
            redirect_uri=REDIRECT_URI,
            code_verifier=None if verifier is None else SecretStr(verifier),
        )
        return self.client.exchange_code(prepared, self.app, deadline=DEADLINE)

    def credentials(self) -> Credentials:
        answer = self.connect().answer
        return Credentials(answer.access_token, answer.refresh_token)

    def refresh(self, credentials: Credentials) -> Credentials:
        answer = self.client.refresh(self.definition, self.app, credentials, {}, deadline=DEADLINE)
        return Credentials(answer.access_token, answer.refresh_token)

    def check(self, token: SecretStr) -> None:
        self.client.check(self.definition, self.app, token, deadline=DEADLINE)

    def revoke(self, credentials: Credentials) -> None:
        assert credentials.refresh_token is not None
        kind = TokenKind.REFRESH_TOKEN
        self.client.revoke(self.definition, self.app, credentials.refresh_token, kind, deadline=DEADLINE)


@pytest.fixture(params=CLIENTS)
def meeting(server: AuthServer, client: ProviderClient, request: pytest.FixtureRequest) -> Meeting:
    return Meeting(server, client, request.param)


def test_a_code_with_its_verifier_becomes_tokens(meeting: Meeting) -> None:
    """With scope, lifetime and a refresh token, and an account behind them."""
    connected = meeting.connect(scope="profile", login_hint="rose")

    assert connected.answer.scope == ("profile",)
    assert connected.answer.expires_in == timedelta(hours=1)
    assert connected.answer.refresh_token is not None
    account = meeting.client.account(
        meeting.definition, meeting.app, connected.answer.access_token, deadline=DEADLINE
    )
    assert (account.id, account.label) == ("rose", "rose@users.example")


@pytest.mark.parametrize("verifier", [None, "x" * 64])
def test_a_code_without_its_verifier_becomes_nothing(meeting: Meeting, verifier: str | None) -> None:
    """RFC 7636 §4.6: whoever caught the code on its way cannot use it."""
    code = meeting.code(secrets.token_urlsafe(48))

    with pytest.raises(ProviderError):
        meeting.exchange(code, verifier)


def test_a_code_is_used_once(meeting: Meeting) -> None:
    verifier = secrets.token_urlsafe(48)
    code = meeting.code(verifier)
    meeting.exchange(code, verifier)

    with pytest.raises(GrantRejected):
        meeting.exchange(code, verifier)


def test_a_user_who_refuses_sends_an_error_back(server: AuthServer) -> None:
    """With state and issuer, and without a code (RFC 6749 §4.1.2.1, RFC 9207)."""
    callback = server.authorize(CLIENTS["none"], login_hint="nobody", state="s-1")

    assert callback.parameters["error"] == "access_denied"
    assert callback.parameters["state"] == "s-1"
    assert callback.parameters["iss"] == server.base_url
    assert "code" not in callback.parameters


def test_a_refresh_rotates(meeting: Meeting) -> None:
    """Twice in a row, each with the token before."""
    first = meeting.credentials()
    second = meeting.refresh(first)
    third = meeting.refresh(second)

    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    meeting.check(third.access_token)


def test_a_spent_refresh_token_is_refused_as_a_dead_grant(meeting: Meeting) -> None:
    spent = meeting.credentials()
    meeting.refresh(spent)

    with pytest.raises(GrantRejected) as caught:
        meeting.refresh(spent)

    assert caught.value.code == "invalid_grant"


def test_a_check_tells_a_living_token_from_one_that_was_revoked(meeting: Meeting) -> None:
    """By introspection (RFC 7662), which knows the scope and the end as well."""
    credentials = meeting.credentials()
    alive = meeting.client.check(meeting.definition, meeting.app, credentials.access_token, deadline=DEADLINE)
    assert alive.scope == SCOPES
    assert alive.expires_at is not None

    meeting.revoke(credentials)

    with pytest.raises(GrantRejected):
        meeting.check(credentials.access_token)
    with pytest.raises(GrantRejected):
        meeting.refresh(credentials)


def test_a_revocation_may_be_repeated(meeting: Meeting) -> None:
    """RFC 7009 §2.2: an unknown token is no error."""
    credentials = meeting.credentials()
    meeting.revoke(credentials)
    meeting.revoke(credentials)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_wrong_secret_implicates_us_and_not_the_grant(
    server: AuthServer, client: ProviderClient, method: str
) -> None:
    """The grant is as alive as before."""
    meeting = Meeting(server, client, method)
    credentials = meeting.credentials()
    right, meeting.app = meeting.app, meeting.as_client("wrong")

    with pytest.raises(ClientMisconfigured):
        meeting.refresh(credentials)
    with pytest.raises(ClientMisconfigured):
        meeting.revoke(credentials)

    meeting.app = right
    meeting.refresh(credentials)


def test_a_client_that_is_unknown_implicates_us(server: AuthServer, client: ProviderClient) -> None:
    meeting = Meeting(server, client, "none")
    credentials = meeting.credentials()
    meeting.app = AppCredentials("nobody")

    with pytest.raises(ClientMisconfigured):
        meeting.refresh(credentials)


def test_another_clients_token_is_refused(server: AuthServer, client: ProviderClient) -> None:
    """A refresh token belongs to the client that it was given to (RFC 6749 §6)."""
    mine, other = Meeting(server, client, "none"), Meeting(server, client, "client_secret_post")

    with pytest.raises(GrantRejected):
        other.refresh(mine.credentials())


def test_a_table_that_lies_about_the_client_is_refused(server: AuthServer, client: ProviderClient) -> None:
    """Basic where the body is wanted: the server does not know the client then."""
    meeting = Meeting(server, client, "client_secret_post")
    credentials = meeting.credentials()
    meeting.definition = meeting.described_as("client_secret_basic")

    with pytest.raises(ClientMisconfigured):
        meeting.refresh(credentials)
