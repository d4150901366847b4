"""Speaks to providers: every call is prepared first, sent once, and judged strictly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import SecretStr

from domain.token import Answer, Credentials, TokenKind
from providers.accounts import Account, judge_account, prepare_account
from providers.app_credentials import AppCredentials
from providers.connecting import Connected, judge_code_exchange
from providers.definition import ProviderDefinition
from providers.device import (
    DeviceAuthorization,
    Pending,
    judge_device_authorization,
    judge_device_poll,
)
from providers.http import WireAnswer, WireRequest
from providers.judgement import CheckResult, judge_check, judge_revoke, judge_token
from providers.requests import NO_METADATA, PreparedCall, prepare_check, prepare_refresh
from providers.revoking import prepare_revoke


class Exchanges(Protocol):
    """What the client needs of `providers.http.Wire`."""

    def exchange(
        self, request: WireRequest, *, deadline: timedelta, began: float | None = None
    ) -> WireAnswer:
        """Send one request and return its whole answer."""
        ...


class ProviderClient:
    """Speaks to every provider in its own dialect. Stateless but for the wire's connections; thread-safe."""

    def __init__(self, wire: Exchanges) -> None:
        self._wire = wire

    @staticmethod
    def prepare(
        definition: ProviderDefinition,
        app: AppCredentials | None,
        credentials: Credentials,
        metadata: Mapping[str, object],
    ) -> PreparedCall:
        """Build the refresh request without sending it (see `providers.requests.prepare_refresh`)."""
        return prepare_refresh(definition, app, credentials, metadata)

    def present(
        self,
        prepared: PreparedCall,
        *,
        deadline: timedelta,
        began: float | None = None,
        now: datetime | None = None,
    ) -> Answer:
        """Send a prepared refresh request, once, and return the provider's tokens.

        Args:
            deadline: Total time of the call.
            began: From when the deadline counts, on the monotonic clock; None: from now.
            now: The caller's clock, for instants in an answer without a date; None: they are of no use then.

        Raises:
            ProviderError: The kind that says what to do next; nothing else is raised for what a provider
                or the network does.
        """
        answer = self._wire.exchange(prepared.request, deadline=deadline, began=began)
        return judge_token(prepared.definition, answer, secrets=prepared.secrets, now=now)

    def refresh(
        self,
        definition: ProviderDefinition,
        app: AppCredentials | None,
        credentials: Credentials,
        metadata: Mapping[str, object],
        *,
        deadline: timedelta,
    ) -> Answer:
        """Prepare and present in one step; raises what `prepare` and `present` raise."""
        return self.present(prepare_refresh(definition, app, credentials, metadata), deadline=deadline)

    def check(
        self,
        definition: ProviderDefinition,
        app: AppCredentials | None,
        access_token: SecretStr,
        metadata: Mapping[str, object] = NO_METADATA,
        *,
        deadline: timedelta,
    ) -> CheckResult:
        """Ask the provider whether an access token is alive.

        Raises:
            GrantRejected: It does not accept the token. A reason to refresh, not yet a death.
            ProviderError: Any other kind: nothing is known about the token.
            ConfigurationError: The provider has no health check, or the connection lacks a part of its URL.
        """
        prepared = prepare_check(definition, app, access_token, metadata)
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_check(definition, answer, secrets=prepared.secrets)

    def revoke(
        self,
        definition: ProviderDefinition,
        app: AppCredentials | None,
        token: SecretStr,
        kind: TokenKind,
        metadata: Mapping[str, object] = NO_METADATA,
        *,
        deadline: timedelta,
    ) -> None:
        """Ask the provider to revoke a token. May be repeated, after an unknown outcome as well.

        Raises:
            GrantRejected: The token was not alive any more.
            ClientMisconfigured: The provider refuses our client or the endpoint; nothing was revoked.
            ProviderError: Any other kind: the token may still be alive; try again.
            ConfigurationError: The provider has no revocation, the token cannot be sent, or the connection
                lacks a part of the URL.
        """
        prepared = prepare_revoke(definition, app, token, kind, metadata)
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        judge_revoke(definition, answer, secrets=prepared.secrets)

    def exchange_code(
        self,
        prepared: PreparedCall,
        app: AppCredentials,
        *,
        deadline: timedelta,
        callback: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> Connected:
        """Send a prepared code exchange, once, and return what it brings.

        Args:
            callback: The parameters of the authorization callback; None where there was none.
            now: As `present`.

        Raises:
            ProviderError: As `connecting.judge_code_exchange`.
        """
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_code_exchange(
            prepared.definition,
            app,
            answer,
            callback=callback,
            metadata=prepared.metadata,
            secrets=prepared.secrets,
            now=now,
        )

    def account(
        self,
        definition: ProviderDefinition,
        app: AppCredentials | None,
        access_token: SecretStr,
        metadata: Mapping[str, object] = NO_METADATA,
        *,
        deadline: timedelta,
    ) -> Account:
        """Ask the provider who the user is. May be repeated.

        Raises:
            ProviderError: As `accounts.judge_account`.
            ConfigurationError: As `accounts.prepare_account`.
        """
        prepared = prepare_account(definition, app, access_token, metadata)
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_account(definition, answer, secrets=prepared.secrets)

    def authorize_device(self, prepared: PreparedCall, *, deadline: timedelta) -> DeviceAuthorization:
        """Send a prepared device authorization request, and return what the user is to be shown.

        Raises:
            ProviderError: As `device.judge_device_authorization`.
        """
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_device_authorization(prepared.definition, answer, secrets=prepared.secrets)

    def poll_device(
        self,
        prepared: PreparedCall,
        app: AppCredentials,
        *,
        deadline: timedelta,
        now: datetime | None = None,
    ) -> Connected | Pending:
        """Send a prepared poll, and return the tokens, or that the user has not decided yet.

        Args:
            now: As `present`.

        Raises:
            ProviderError: As `device.judge_device_poll`.
        """
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_device_poll(
            prepared.definition,
            app,
            answer,
            metadata=prepared.metadata,
            secrets=prepared.secrets,
            now=now,
        )
