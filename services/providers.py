"""The desk where a provider's definition, our app's credentials and its policy facts come together."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from domain.errors import ConfigurationError
from domain.provider import ProviderFacts
from domain.token import TokenKind
from providers.app_credentials import AppCredentials, all_from_environment, configured, webhook_secret
from providers.catalogue import Catalogue
from providers.definition import ProviderDefinition
from providers.events.tables import Webhook
from services.scopes import Call, Scope
from storage.siblings import Kin


@dataclass(frozen=True, slots=True)
class ReadyProvider:
    """A provider that can be called: definition, credentials, facts, and the scopes of its breakers.

    Attributes:
        scope: Of refreshes, for grants of no tenant.
        check_scope: Of health checks, for grants of no tenant.
    """

    definition: ProviderDefinition
    app: AppCredentials
    facts: ProviderFacts
    scope: Scope
    check_scope: Scope
    revoke_scope: Scope

    def scope_of(self, tenant: str | None) -> Scope:
        """Return the scope in which a grant of this tenant is refreshed."""
        return self.scope.of(tenant) if self.has_tenants else self.scope

    def account_of(self, *, account_id: str, tenant: str | None, connection_id: UUID) -> str:
        """Name the count of the provider's own unit of account: a tenant, else an account, else a connection.

        Hashed with what Redis never sees, so that nobody can try names until one fits.
        """
        unit = tenant if self.has_tenants and tenant is not None else account_id or str(connection_id)
        secret = self.app.client_secret
        key = self.app.client_id if secret is None else secret.get_secret_value()
        return hmac.new(key.encode(), f"{self.definition.id}|{unit}".encode(), "sha256").hexdigest()[:32]

    def check_scope_of(self, tenant: str | None) -> Scope:
        """Return the scope in which a token of this tenant is checked."""
        return self.check_scope.of(tenant) if self.has_tenants else self.check_scope

    @property
    def has_tenants(self) -> bool:
        """Whether the definition tells tenants apart; what rows remember of them counts only then."""
        return self.definition.tenant_field is not None


@dataclass(frozen=True, slots=True)
class NotReady:
    """A provider that cannot be called, and why in a word."""

    code: str


class ProviderDesk:
    """Immutable after start; built once per process."""

    def __init__(self, catalogue: Catalogue, environment: Mapping[str, str]) -> None:
        """Bring definitions and credentials together.

        Raises:
            ConfigurationError: A client id or secret is malformed; names the variable.
        """
        self._catalogue = catalogue
        self._webhook_secrets = {
            definition.id: secret
            for definition in catalogue
            if isinstance(definition.events, Webhook)
            and (secret := webhook_secret(definition.id, environment)) is not None
        }
        self._apps = all_from_environment(catalogue, environment)
        self._ready = {definition.id: self._prepare(definition) for definition in catalogue}

    @property
    def catalogue(self) -> Catalogue:
        """The definitions, configured or not."""
        return self._catalogue

    def ready(self, provider_id: str) -> ReadyProvider | NotReady:
        """Return what is needed to call a provider, or why it cannot be called."""
        return self._ready.get(provider_id, NotReady("unknown_provider"))

    def callable_providers(self) -> list[ReadyProvider]:
        """Return every provider that can be called."""
        return [ready for ready in self._ready.values() if isinstance(ready, ReadyProvider)]

    def sharing(self, scope: Scope) -> list[ReadyProvider]:
        """Return the providers whose grants are refreshed in this scope: those of one app at one endpoint."""
        return [ready for ready in self.callable_providers() if ready.scope_of(scope.tenant).key == scope.key]

    def configured(self, provider_id: str) -> bool:
        """Say whether the provider can be called as this process was started."""
        return isinstance(self.ready(provider_id), ReadyProvider)

    def webhook_secret(self, provider_id: str) -> SecretStr | None:
        """Return the secret that signs the provider's webhooks; None where none is set."""
        return self._webhook_secrets.get(provider_id)

    def display_name(self, provider_id: str) -> str:
        """Return the provider's name for people; its id where no definition has it."""
        try:
            return self._catalogue.get(provider_id).display_name
        except ConfigurationError:
            return provider_id

    def revocable(self, provider_id: str) -> bool | None:
        """Say whether the provider takes tokens back; None where no definition has it here."""
        if provider_id not in self._catalogue:
            return None
        return self._catalogue.get(provider_id).revocation_url is not None

    def revoked_token(self, provider_id: str) -> TokenKind:
        """Return which token is revoked to end a grant; the refresh token where no definition has it here."""
        if provider_id not in self._catalogue:
            return TokenKind.REFRESH_TOKEN
        return self._catalogue.get(provider_id).revoked_token

    def manage_url(self, provider_id: str) -> str | None:
        """Return where a user removes the apps that he has let in; None where it is not known."""
        return self._catalogue.get(provider_id).manage_url if provider_id in self._catalogue else None

    def kin(self, provider: ReadyProvider) -> Kin:
        """Return the providers at which the same client revokes at the same endpoint, this one included."""
        client_id, url = provider.app.client_id, provider.definition.revocation_url
        same = (
            other.definition.id
            for other in self.callable_providers()
            if other.app.client_id == client_id and other.definition.revocation_url == url
        )
        return Kin(f"{client_id}|{url}", tuple(same))

    def _prepare(self, definition: ProviderDefinition) -> ReadyProvider | NotReady:
        app = self._apps.get(definition.id)
        if app is None or not configured(definition, app):
            return NotReady("provider_not_configured")
        check = definition.check
        return ReadyProvider(
            definition,
            app,
            definition.facts,
            _scope(
                definition,
                app,
                definition.refresh_url or definition.token_url,
                definition.max_requests_per_second,
            ),
            # Checks go to another host with limits of its own.
            _scope(
                definition,
                app,
                None if check is None else check.url,
                None if check is None else check.max_requests_per_second,
                call=Call.CHECK,
            ),
            _scope(
                definition,
                app,
                definition.revocation_url,
                definition.max_requests_per_second,
                call=Call.REVOKE,
            ),
        )


def _scope(
    definition: ProviderDefinition,
    app: AppCredentials,
    endpoint: str | None,
    per_second: float | None,
    *,
    call: Call = Call.TOKEN,
) -> Scope:
    """Return a scope; `endpoint` None: the definition has none, and what it shares with nobody stands in."""
    own = f"{app.client_id}|{endpoint or f'{definition.id} {call}'}"
    # Revocations have a breaker of their own, also where they go to the token endpoint's host.
    key = f"{own}|revoke" if call is Call.REVOKE else own
    return Scope(
        key=key,
        pace=f"{definition.id}|{app.client_id}|{(endpoint or call) if call is Call.TOKEN else call}",
        provider_id=definition.id,
        display_name=definition.display_name,
        max_concurrency=definition.max_concurrency,
        max_per_second=per_second,
        max_per_second_of_account=(
            None if call is Call.REVOKE else definition.max_requests_per_second_per_account
        ),
        # A tenant's key has a bar in this place, so that this is the key of none.
        whole=None if definition.tenant_field is None else f"{key} (all tenants)",
        call=call,
    )
