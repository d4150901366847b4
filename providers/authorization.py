"""Builds the address at which a person consents: RFC 6749 §4.1.1, with PKCE (RFC 7636), under a provider's
names.

Authlib writes the query and the challenge. The address holds the state, which is a secret until it is used:
it goes into a redirect of the person's browser and nowhere else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from providers.app_credentials import AppCredentials, configured
from providers.definition import ProviderDefinition
from providers.urls import resolved


@dataclass(frozen=True, slots=True)
class Authorization:
    """Where a person consents, and what the code exchange will have to show. `repr` shows neither.

    Attributes:
        url: With the state in its query.
        verifier: Of PKCE; None where the provider knows none.
    """

    url: SecretStr
    verifier: SecretStr | None = field(repr=False)


def new_state() -> str:
    """Return a fresh state: 256 random bits, for one authorization."""
    return secrets.token_urlsafe(32)


def prepare_authorization(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    *,
    redirect_uri: str,
    state: str,
    scopes: tuple[str, ...],
    metadata: Mapping[str, object],
) -> Authorization:
    """Build the authorization request.

    Args:
        scopes: What to ask for; none asks for the provider's default.
        metadata: What the URL's variables are filled from.

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the exchange will want one.
        ConfigurationError: Nobody consents at this provider, or a variable of its URL has no value.
    """
    if definition.authorize_url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no authorize_url: nobody connects it here")
    if app is None or not configured(definition, app):
        raise ClientMisconfigured("app_not_configured")
    fields = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
    }
    if scopes:
        fields["scope"] = definition.scope_separator.join(scopes)
    names = {str(usual): name for usual, name in definition.authorize_names.items()}
    query = {names.get(name, name): value for name, value in fields.items()} | dict(
        definition.authorize_params
    )
    verifier = None
    if definition.pkce:
        # RFC 7636 §4.1: 43 to 128 characters; these are 64, of 384 random bits.
        verifier = secrets.token_urlsafe(48)
        query["code_challenge"] = str(create_s256_code_challenge(verifier))
        query["code_challenge_method"] = "S256"
    url = add_params_to_uri(resolved(definition, definition.authorize_url, metadata), list(query.items()))
    return Authorization(SecretStr(str(url)), None if verifier is None else SecretStr(verifier))
