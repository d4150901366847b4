"""Builds the requests that keep a connection alive, before anything is promised to anybody.

Whatever can fail about a request fails here, so that between the stamp "presented" and the send there is
nothing left but the wire. Connecting has modules of its own: `connecting`, `device` and `accounts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from domain.provider import GrantKind, Replay
from domain.token import Credentials
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.definition_tables import Account, Check
from providers.encoding import encoded, filled, required, secret_of, sendable, token_body
from providers.http import WireRequest
from providers.urls import destination, problem
from providers.vocabulary import Endpoint

#: Of connections about which nothing more is known.
NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that only needs sending. `repr` names provider and endpoint, nothing else.

    Attributes:
        secrets: What the call carries; judgement keeps it out of error codes that quote the provider.
        metadata: What its URL was filled with, where the answer may begin a grant.
    """

    definition: ProviderDefinition = field(repr=False)
    endpoint: Endpoint
    request: WireRequest = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    provider_id: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, repr=False)


def _usable(value: object) -> bool:
    return (
        isinstance(value, str | int)
        and not isinstance(value, bool)
        and bool(str(value).strip())
        and str(value).isprintable()
    )


def metadata_problem(definition: ProviderDefinition, metadata: Mapping[str, object]) -> str | None:
    """Return what a connection's metadata lacks to be kept alive, and how to mend it; None if nothing.

    A value that no URL can take is a problem even where only connecting uses it: it was given for something.
    """
    if (lacking := _fields_problem(definition, metadata)) is not None:
        return lacking
    for name in definition.variables:
        if name in definition.kept_variables or metadata.get(name) is not None:
            wrong = problem(definition, name, metadata)
            if wrong is not None:
                return wrong
    return None


def _fields_problem(definition: ProviderDefinition, metadata: Mapping[str, object]) -> str | None:
    for key in definition.required_metadata:
        value = metadata.get(key)
        if not _usable(value):
            return (
                f"metadata.{key}: provider {definition.id!r} needs it to refresh, as a text or a number; "
                f'import the connection with "metadata": {{"{key}": "..."}}'
            )
    return None


def prepare_refresh(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    credentials: Credentials,
    metadata: Mapping[str, object],
) -> PreparedCall:
    """Build the one POST that brings a new access token (RFC 6749 §6, §4.4.2).

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: This connection cannot be refreshed as it is; the message says what it lacks.
    """
    app = required(definition, app)
    url = definition.refresh_url or definition.token_url
    if definition.grant is GrantKind.NONE or url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no refresh: its tokens do not expire")
    if (lacking := _fields_problem(definition, metadata)) is not None:
        raise ConfigurationError(lacking)
    fields = {"grant_type": definition.grant.value}
    if definition.grant is GrantKind.REFRESH_TOKEN:
        if credentials.refresh_token is None:
            raise ConfigurationError("the connection has no refresh token; the user has to connect again")
        fields["refresh_token"] = sendable(credentials.refresh_token, "refresh token")
    for name, key in definition.metadata_fields.items():
        fields[name] = str(metadata[key])
    fields.update(definition.token_params)
    fields.update(definition.refresh_params)
    headers = dict(definition.token_headers)
    request = WireRequest(
        method="POST",
        url=destination(definition, url, metadata),
        headers=headers,
        content=token_body(fields, definition, app, headers),
        fresh=definition.replay is Replay.LAST_RESORT,
    )
    secrets = (fields.get("refresh_token", ""), secret_of(app), credentials.access_token.get_secret_value())
    return PreparedCall(definition, Endpoint.TOKEN, request, secrets, definition.id)


def prepare_check(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    access_token: SecretStr,
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the request that asks whether an access token is alive.

    Raises:
        ClientMisconfigured: The request needs our client id, and we have none.
        ConfigurationError: The provider has no health check, or this connection lacks a part of its URL.
    """
    check = definition.check
    if check is None:
        raise ConfigurationError(
            f"provider {definition.id!r} has no health check; add [providers.{definition.id}.check]"
        )
    return asking(definition, Endpoint.CHECK, check, check.url, app, access_token, metadata)


def asking(
    definition: ProviderDefinition,
    endpoint: Endpoint,
    table: Check | Account,
    url: str,
    app: AppCredentials | None,
    access_token: SecretStr,
    metadata: Mapping[str, object],
) -> PreparedCall:
    """Build a request with an access token, as a check's or an account's table describes it.

    Raises:
        ClientMisconfigured: The request needs our client id, and we have none.
        ConfigurationError: The token cannot be sent, or the connection lacks a part of the URL.
    """
    token = sendable(access_token, "access token")
    if app is None and "{client_id}" in table.templates:
        raise ClientMisconfigured("app_not_configured")
    values = {"access_token": token, "client_id": "" if app is None else app.client_id}
    headers = filled(table.headers, values)
    if table.bearer:
        headers["Authorization"] = f"Bearer {token}"
    content = encoded(filled(table.body, values), table.body_format, headers) if table.body else None
    request = WireRequest(
        method=table.method,
        url=destination(definition, url, metadata),
        headers=headers,
        content=content,
        secret_query=urlencode(filled(table.query, values)).encode("ascii"),
    )
    return PreparedCall(definition, endpoint, request, (token,), definition.id)
