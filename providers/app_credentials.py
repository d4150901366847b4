"""The product's own credentials at a provider: its client id and, where one is wanted, its secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from domain.errors import ConfigurationError
from providers.definition import ProviderDefinition

#: RFC 6749 appendix A.1 and A.2: client ids and secrets are made of visible characters and the space.
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """One app at one provider. `repr` does not show the secret; None means that there is none."""

    client_id: str
    client_secret: SecretStr | None = None


def variable_names(provider_id: str) -> tuple[str, str]:
    """Return the environment variables of a provider's client id and secret."""
    prefix = f"EVERGRANT_{provider_id.upper().replace('-', '_')}"
    return f"{prefix}_CLIENT_ID", f"{prefix}_CLIENT_SECRET"


def webhook_variable(provider_id: str) -> str:
    """Return the environment variable of the secret that signs a provider's webhooks."""
    return f"EVERGRANT_{provider_id.upper().replace('-', '_')}_WEBHOOK_SECRET"


def webhook_secret(provider_id: str, environment: Mapping[str, str]) -> SecretStr | None:
    """Return the secret that signs a provider's webhooks; None where it is not set.

    Raises:
        ConfigurationError: A value no provider can have issued.
    """
    name = webhook_variable(provider_id)
    secret = environment.get(name) or None
    _refuse_unprintable(name, secret)
    return None if secret is None else SecretStr(secret)


def _refuse_unprintable(name: str, value: str | None) -> None:
    if value is not None and (value != value.strip() or not _PRINTABLE.fullmatch(value)):
        raise ConfigurationError(
            f"{name}: has spaces around it, or characters other than printable ASCII; "
            "copy the value from the provider's console again"
        )


def from_environment(provider_id: str, environment: Mapping[str, str]) -> AppCredentials | None:
    """Return the app's credentials at one provider, None where neither variable is set.

    An empty variable counts as unset, as compose files write unset ones.

    Raises:
        ConfigurationError: A secret without an id, or a value no provider can have issued.
    """
    id_name, secret_name = variable_names(provider_id)
    client_id, secret = environment.get(id_name) or None, environment.get(secret_name) or None
    for name, value in ((id_name, client_id), (secret_name, secret)):
        _refuse_unprintable(name, value)
    if client_id is None:
        if secret is not None:
            raise ConfigurationError(f"{secret_name} is set and {id_name} is not; set both, or neither")
        return None
    return AppCredentials(client_id, None if secret is None else SecretStr(secret))


def all_from_environment(
    definitions: Iterable[ProviderDefinition], environment: Mapping[str, str]
) -> dict[str, AppCredentials]:
    """Return the credentials of every provider that has some, by provider id.

    Raises:
        ConfigurationError: One line for each variable that is wrong.
    """
    found: dict[str, AppCredentials] = {}
    problems: list[str] = []
    for definition in definitions:
        try:
            credentials = from_environment(definition.id, environment)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        if credentials is not None:
            found[definition.id] = credentials
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def configured(definition: ProviderDefinition, credentials: AppCredentials | None) -> bool:
    """Say whether the provider can be called: a client id, and a secret where its client_auth needs one."""
    return credentials is not None and (
        credentials.client_secret is not None or not definition.requires_secret
    )
