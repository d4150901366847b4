"""Builds the request that takes a token back: RFC 7009's, or the provider's own."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import SecretStr

from domain.errors import ConfigurationError
from domain.token import TokenKind
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.definition_tables import Revoke
from providers.encoding import (
    client_fields,
    client_form,
    encoded,
    filled,
    identified,
    renamed,
    required,
    secret_of,
    sendable,
)
from providers.http import WireRequest
from providers.requests import NO_METADATA, PreparedCall
from providers.urls import destination
from providers.vocabulary import ClientAuth, Endpoint, RevokeAuth


def prepare_revoke(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    token: SecretStr,
    kind: TokenKind,
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the request that takes a token back.

    RFC 7009 §2.1 wants a form, whatever the token endpoint wants.

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: The provider has no revocation, the token is none, or the connection lacks a part
            of the URL.
    """
    url = definition.revocation_url
    if url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no revoke_url")
    app = required(definition, app)
    text = sendable(token, "token")
    if definition.revoke is not None:
        request = _own_way(definition, definition.revoke, app, text, metadata)
    else:
        headers: dict[str, str] = {}
        fields = {"token": text, "token_type_hint": kind.value}
        content = client_form(fields, definition.client_auth, app, headers)
        request = WireRequest("POST", destination(definition, url, metadata), headers, content)
    return PreparedCall(definition, Endpoint.REVOKE, request, (text, secret_of(app)), definition.id)


def _own_way(
    definition: ProviderDefinition,
    revoke: Revoke,
    app: AppCredentials,
    token: str,
    metadata: Mapping[str, object],
) -> WireRequest:
    values = {"token": token, "client_id": app.client_id}
    headers = filled(revoke.headers, values)
    fields = filled(revoke.body, values)
    match revoke.auth:
        case RevokeAuth.CLIENT:
            # Under the provider's own names, such as TikTok's client_key.
            fields |= renamed(client_fields(definition.client_auth, app, headers), definition)
        case RevokeAuth.BODY:
            fields |= client_fields(ClientAuth.CLIENT_SECRET_POST, app, headers)
        case RevokeAuth.BASIC:
            headers.update(identified(ClientAuth.CLIENT_SECRET_BASIC, app)[0])
        case RevokeAuth.BEARER:
            headers["Authorization"] = f"Bearer {token}"
        case RevokeAuth.NONE:
            pass
    content = encoded(fields, revoke.body_format, headers) if fields else None
    return WireRequest(
        method=revoke.method,
        url=destination(definition, revoke.url, metadata, client_id=app.client_id),
        headers=headers,
        content=content,
        secret_query=urlencode(filled(revoke.query, values)).encode("ascii"),
    )
