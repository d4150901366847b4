"""The desk where a provider's definition, our app's credentials and its policy facts come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import ConfigurationError
from domain.provider import ProviderFacts
from providers.app_credentials import AppCredentials, all_from_environment, configured
from providers.catalogue import Catalogue
from providers.definition import ProviderDefinition
from services.admission import Scope
from storage.siblings import Kin


@dataclass(frozen=True, slots=True)
class ReadyProvider:
    """A provider that can be called: definition, credentials, facts, and the scopes of its breakers."""

    definition: ProviderDefinition
    app: AppCredentials
    facts: ProviderFacts
    scope: Scope
    check_scope: Scope
    revoke_scope: Scope


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

    def configured(self, provider_id: str) -> bool:
        """Say whether the provider can be called as this process was started."""
        return isinstance(self.ready(provider_id), ReadyProvider)

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
        return self._catalogue.get(provider_id).revoke_url is not None

    def manage_url(self, provider_id: str) -> str | None:
        """Return where a user removes the apps that he has let in; None where it is not known."""
        return self._catalogue.get(provider_id).manage_url if provider_id in self._catalogue else None

    def kin(self, provider: ReadyProvider) -> Kin:
        """Return the providers at which the same client revokes at the same endpoint, this one included."""
        client_id, url = provider.app.client_id, provider.definition.revoke_url
        same = (
            other.definition.id
            for other in self.callable_providers()
            if other.app.client_id == client_id and other.definition.revoke_url == url
        )
        return Kin(f"{client_id}|{url}", tuple(same))

    def _prepare(self, definition: ProviderDefinition) -> ReadyProvider | NotReady:
        app = self._apps.get(definition.id)
        if app is None or not configured(definition, app):
            return NotReady("provider_not_configured")
        check_rate = None if definition.check is None else definition.check.max_requests_per_second
        return ReadyProvider(
            definition,
            app,
            definition.facts,
            _scope(definition, app, definition.token_url or "token", definition.max_requests_per_second),
            # Checks go to another host with limits of its own.
            _scope(definition, app, "check", check_rate),
            _scope(definition, app, "revoke", definition.max_requests_per_second),
        )


def _scope(
    definition: ProviderDefinition, app: AppCredentials, endpoint: str, per_second: float | None
) -> Scope:
    return Scope(
        key=f"{definition.id}|{app.client_id}|{endpoint}",
        provider_id=definition.id,
        display_name=definition.display_name,
        max_concurrency=definition.max_concurrency,
        max_per_second=per_second,
    )
