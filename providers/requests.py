"""Builds the requests a definition describes, before anything is promised to anybody.

Whatever can fail about a request fails here, so that between the stamp "presented" and the send there is
nothing left but the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote_plus, urlencode

from authlib.oauth2 import ClientAuth as AuthlibClientAuth
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from domain.provider import GrantKind, Replay
from domain.token import Credentials, TokenKind
from providers.app_credentials import AppCredentials, configured
from providers.connections import Destination
from providers.definition import BodyFormat, Check, ClientAuth, Endpoint, ProviderDefinition
from providers.http import WireRequest

_PLACEHOLDER = re.compile(r"\{(access_token|client_id)\}")
#: RFC 6749 appendix A.12, A.17: visible ASCII and the space. What else is stored was damaged on its way here.
_TOKEN = re.compile(r"[\x20-\x7e]+")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that only needs sending. `repr` names provider and endpoint, nothing else.

    Attributes:
        secrets: What the call carries; judgement keeps it out of error codes that quote the provider.
    """

    definition: ProviderDefinition = field(repr=False)
    endpoint: Endpoint
    request: WireRequest = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    provider_id: str = ""


@lru_cache(maxsize=1024)
def _url(text: str) -> Destination:
    return Destination.of(text)


def _sendable(token: SecretStr, what: str) -> str:
    text = token.get_secret_value()
    if not _TOKEN.fullmatch(text):
        raise ConfigurationError(
            f"the connection's {what} is empty or holds characters that no token has; import it again"
        )
    return text


def _usable(value: object) -> bool:
    return (
        isinstance(value, str | int)
        and not isinstance(value, bool)
        and bool(str(value).strip())
        and str(value).isprintable()
    )


def metadata_problem(definition: ProviderDefinition, metadata: Mapping[str, object]) -> str | None:
    """Return what a connection's metadata lacks to be refreshed, and how to mend it; None if nothing."""
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
    if app is None or not configured(definition, app):
        raise ClientMisconfigured("app_not_configured")
    if definition.grant is GrantKind.NONE or definition.token_url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no refresh: its tokens do not expire")
    if (problem := metadata_problem(definition, metadata)) is not None:
        raise ConfigurationError(problem)
    fields = {"grant_type": definition.grant.value}
    if definition.grant is GrantKind.REFRESH_TOKEN:
        if credentials.refresh_token is None:
            raise ConfigurationError("the connection has no refresh token; the user has to connect again")
        fields["refresh_token"] = _sendable(credentials.refresh_token, "refresh token")
    for name, key in definition.metadata_fields.items():
        fields[name] = str(metadata[key])
    fields.update(definition.token_params)
    headers = dict(definition.token_headers)
    if definition.body_format is BodyFormat.FORM and not definition.field_names:
        content = _form(fields, definition, app, headers)
    else:
        content = _dialect(fields, definition, app, headers)
    request = WireRequest(
        method="POST",
        url=_url(definition.token_url),
        headers=headers,
        content=content,
        fresh=definition.replay is Replay.LAST_RESORT,
    )
    secrets = (fields.get("refresh_token", ""), _secret(app), credentials.access_token.get_secret_value())
    return PreparedCall(definition, Endpoint.TOKEN, request, secrets, definition.id)


def _secret(app: AppCredentials) -> str:
    return "" if app.client_secret is None else app.client_secret.get_secret_value()


@lru_cache(maxsize=1024)
def _identified(method: ClientAuth, app: AppCredentials) -> tuple[Mapping[str, str], str]:
    """Return how the client says who it is, in headers or a piece of a form, once for all calls."""
    client_id, secret = app.client_id, _secret(app)
    if method is ClientAuth.CLIENT_SECRET_BASIC:
        # RFC 6749 §2.3.1 encodes both before they are joined; Authlib leaves that out.
        client_id, secret = quote_plus(client_id), quote_plus(secret)
    headers: dict[str, str] = {}
    _, _, form = AuthlibClientAuth(client_id, secret, method.value).prepare("POST", "", headers, "")
    return headers, str(form)


def _form(
    fields: Mapping[str, str], definition: ProviderDefinition, app: AppCredentials, headers: dict[str, str]
) -> bytes:
    """Write the form that the RFCs describe, and let the client say who it is, in the form or in a header."""
    identifying, piece = _identified(definition.client_auth, app)
    headers.update(identifying)
    headers["Content-Type"] = _FORM
    form = urlencode(fields)
    return (f"{form}&{piece}" if piece else form).encode("ascii")


def _dialect(
    fields: dict[str, str], definition: ProviderDefinition, app: AppCredentials, headers: dict[str, str]
) -> bytes:
    """Write the request in JSON, or under names of the provider's own, which Authlib has no notion of."""
    match definition.client_auth:
        case ClientAuth.CLIENT_SECRET_BASIC:
            headers.update(_identified(definition.client_auth, app)[0])
        case ClientAuth.CLIENT_SECRET_POST:
            fields = {**fields, "client_id": app.client_id, "client_secret": _secret(app)}
        case ClientAuth.NONE:
            fields = {**fields, "client_id": app.client_id}
    names = {str(usual): name for usual, name in definition.field_names.items()}
    renamed = {names.get(name, name): value for name, value in fields.items()}
    return _encode(renamed, definition.body_format, headers)


def prepare_revoke(
    definition: ProviderDefinition, app: AppCredentials | None, token: SecretStr, kind: TokenKind
) -> PreparedCall:
    """Build the POST that takes a token back (RFC 7009 §2.1): a form, whatever the token endpoint wants.

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: The provider has no revocation endpoint, or the token is none.
    """
    if definition.revoke_url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no revoke_url")
    if app is None or not configured(definition, app):
        raise ClientMisconfigured("app_not_configured")
    text = _sendable(token, "token")
    headers: dict[str, str] = {}
    content = _form({"token": text, "token_type_hint": kind.value}, definition, app, headers)
    request = WireRequest(method="POST", url=_url(definition.revoke_url), headers=headers, content=content)
    return PreparedCall(definition, Endpoint.REVOKE, request, (text, _secret(app)), definition.id)


def prepare_check(
    definition: ProviderDefinition, app: AppCredentials | None, access_token: SecretStr
) -> PreparedCall:
    """Build the request that asks whether an access token is alive.

    Raises:
        ClientMisconfigured: The request needs our client id, and we have none.
        ConfigurationError: The provider has no health check.
    """
    check = definition.check
    if check is None:
        raise ConfigurationError(
            f"provider {definition.id!r} has no health check; add [providers.{definition.id}.check]"
        )
    token = _sendable(access_token, "access token")
    if app is None and "{client_id}" in check.templates:
        raise ClientMisconfigured("app_not_configured")
    values = {"access_token": token, "client_id": "" if app is None else app.client_id}
    headers = dict(check.headers)
    if check.bearer:
        headers["Authorization"] = f"Bearer {token}"
    request = WireRequest(
        method=check.method,
        url=_url(check.url),
        headers=headers,
        content=_check_body(check, values, headers),
        secret_query=urlencode(_filled(check.query, values)).encode("ascii"),
    )
    return PreparedCall(definition, Endpoint.CHECK, request, (token,), definition.id)


def _check_body(check: Check, values: Mapping[str, str], headers: dict[str, str]) -> bytes | None:
    if not check.body:
        return None
    return _encode(_filled(check.body, values), check.body_format, headers)


def _filled(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    # One pass, so that a value which happens to look like a placeholder is not filled again.
    return {
        name: _PLACEHOLDER.sub(lambda match: values[match.group(1)], text) for name, text in templates.items()
    }


def _encode(fields: Mapping[str, str], body_format: BodyFormat, headers: dict[str, str]) -> bytes:
    if body_format is BodyFormat.JSON:
        headers["Content-Type"] = "application/json"
        return json.dumps(fields).encode("ascii")
    headers["Content-Type"] = _FORM
    return urlencode(fields).encode("ascii")
