"""Presents refresh tokens, checks and revokes tokens: prepared first, sent once, judged strictly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from pydantic import SecretStr

from domain.token import Answer, Credentials, TokenKind
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.http import WireAnswer, WireRequest
from providers.judgement import CheckResult, judge_check, judge_revoke, judge_token
from providers.requests import PreparedCall, prepare_check, prepare_refresh, prepare_revoke


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

    def present(self, prepared: PreparedCall, *, deadline: timedelta, began: float | None = None) -> Answer:
        """Send a prepared refresh request, once, and return the provider's tokens.

        Args:
            deadline: Total time of the call.
            began: From when the deadline counts, on the monotonic clock; None: from now.

        Raises:
            ProviderError: The kind that says what to do next; nothing else is raised for what a provider
                or the network does.
        """
        answer = self._wire.exchange(prepared.request, deadline=deadline, began=began)
        return judge_token(prepared.definition, answer, secrets=prepared.secrets)

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
        *,
        deadline: timedelta,
    ) -> CheckResult:
        """Ask the provider whether an access token is alive.

        Raises:
            GrantRejected: It does not accept the token. A reason to refresh, not yet a death.
            ProviderError: Any other kind: nothing is known about the token.
            ConfigurationError: The provider has no health check.
        """
        prepared = prepare_check(definition, app, access_token)
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        return judge_check(definition, answer, secrets=prepared.secrets)

    def revoke(
        self,
        definition: ProviderDefinition,
        app: AppCredentials | None,
        token: SecretStr,
        kind: TokenKind,
        *,
        deadline: timedelta,
    ) -> None:
        """Ask the provider to revoke a token (RFC 7009). May be repeated, after an unknown outcome as well.

        Raises:
            GrantRejected: The token was not alive any more.
            ClientMisconfigured: The provider refuses our client or the endpoint; nothing was revoked.
            ProviderError: Any other kind: the token may still be alive; try again.
            ConfigurationError: The provider has no revocation endpoint, or the token cannot be sent.
        """
        prepared = prepare_revoke(definition, app, token, kind)
        answer = self._wire.exchange(prepared.request, deadline=deadline)
        judge_revoke(definition, answer, secrets=prepared.secrets)
