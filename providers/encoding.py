"""Writes bodies and lets the client say who it is: in a form or JSON, under the RFCs' names or others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus, urlencode

from authlib.oauth2 import ClientAuth as AuthlibClientAuth
from pydantic import SecretStr

from domain.errors import ClientMisconfigured, ConfigurationError
from providers.app_credentials import AppCredentials, configured
from providers.definition import ProviderDefinition
from providers.vocabulary import BodyFormat, ClientAuth

#: RFC 6749 appendix A.12, A.17: visible ASCII and the space. What else is stored was damaged on its way here.
_TOKEN: Final = re.compile(r"[\x20-\x7e]+")
_FORM: Final = "application/x-www-form-urlencoded"


def sendable(token: SecretStr, what: str) -> str:
    """Return a token in the clear.

    Args:
        what: Names it in the error.

    Raises:
        ConfigurationError: No provider can have issued it.
    """
    text = token.get_secret_value()
    if not _TOKEN.fullmatch(text):
        raise ConfigurationError(
            f"the connection's {what} is empty or holds characters that no token has; import it again"
        )
    return text


def secret_of(app: AppCredentials) -> str:
    """Return the client secret in the clear, "" where there is none."""
    return "" if app.client_secret is None else app.client_secret.get_secret_value()


def required(definition: ProviderDefinition, app: AppCredentials | None) -> AppCredentials:
    """Return the app's credentials.

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
    """
    if app is None or not configured(definition, app):
        raise ClientMisconfigured("app_not_configured")
    return app


@lru_cache(maxsize=1024)
def identified(method: ClientAuth, app: AppCredentials) -> tuple[Mapping[str, str], str]:
    """Return how the client says who it is, in headers or a piece of a form, once for all calls."""
    client_id, secret = app.client_id, secret_of(app)
    if method is ClientAuth.CLIENT_SECRET_BASIC:
        # RFC 6749 §2.3.1 encodes both before they are joined; Authlib leaves that out.
        client_id, secret = quote_plus(client_id), quote_plus(secret)
    headers: dict[str, str] = {}
    _, _, form = AuthlibClientAuth(client_id, secret, method.value).prepare("POST", "", headers, "")
    return headers, str(form)


def token_body(
    fields: Mapping[str, str], definition: ProviderDefinition, app: AppCredentials, headers: dict[str, str]
) -> bytes:
    """Write a token request in the provider's dialect, with the client in it; add what the headers need."""
    if definition.body_format is BodyFormat.FORM and not definition.field_names:
        return client_form(fields, definition.client_auth, app, headers)
    return _dialect(dict(fields), definition, app, headers)


def client_form(
    fields: Mapping[str, str], method: ClientAuth, app: AppCredentials, headers: dict[str, str]
) -> bytes:
    """Write the form that the RFCs describe, and let the client say who it is, in the form or in a header."""
    identifying, piece = identified(method, app)
    headers.update(identifying)
    headers["Content-Type"] = _FORM
    form = urlencode(fields)
    return (f"{form}&{piece}" if form and piece else form or piece).encode("ascii")


def client_fields(method: ClientAuth, app: AppCredentials, headers: dict[str, str]) -> dict[str, str]:
    """Return the fields by which the client says who it is; none where a header does, which is then added."""
    match method:
        case ClientAuth.CLIENT_SECRET_BASIC:
            headers.update(identified(method, app)[0])
            return {}
        case ClientAuth.CLIENT_SECRET_POST:
            return {"client_id": app.client_id, "client_secret": secret_of(app)}
        case ClientAuth.NONE:
            return {"client_id": app.client_id}


def _dialect(
    fields: dict[str, str], definition: ProviderDefinition, app: AppCredentials, headers: dict[str, str]
) -> bytes:
    """Write the request in JSON, or under names of the provider's own, which Authlib has no notion of."""
    fields |= client_fields(definition.client_auth, app, headers)
    return encoded(renamed(fields, definition), definition.body_format, headers)


def renamed(fields: Mapping[str, str], definition: ProviderDefinition) -> dict[str, str]:
    """Return fields under the provider's names."""
    names = {str(usual): name for usual, name in definition.field_names.items()}
    return {names.get(name, name): value for name, value in fields.items()}


_PLACEHOLDER: Final = re.compile(r"\{(access_token|token|client_id)\}")


def filled(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Return fields with the placeholders filled that the definition may use."""
    # One pass, so that a value which happens to look like a placeholder is not filled again.
    return {
        name: _PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group(0)), text)
        for name, text in templates.items()
    }


def encoded(fields: Mapping[str, str], body_format: BodyFormat, headers: dict[str, str]) -> bytes:
    """Write fields as a body, and say in the headers as what."""
    if body_format is BodyFormat.JSON:
        headers["Content-Type"] = "application/json"
        return json.dumps(fields).encode("ascii")
    headers["Content-Type"] = _FORM
    return urlencode(fields).encode("ascii")
