"""What a definition says that it sends.

It is restated here from docs/providers.md, so that the client is held to it; whether the provider wants it
so, only a transcript can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from domain.provider import GrantKind
from providers.definition import BodyFormat, ClientAuth, ProviderDefinition
from providers.definition_tables import Variable
from providers.vocabulary import RevokeAuth
from simulator.playing.transcript import ANY, REFERENCES, Endpoint, Grant, Scalar, Wanted

#: What the definition's `client_auth` is called in transcripts.
_AUTH: Final[Mapping[ClientAuth, Any]] = {
    ClientAuth.CLIENT_SECRET_POST: "body",
    ClientAuth.CLIENT_SECRET_BASIC: "basic",
    ClientAuth.NONE: "none",
}
#: RFC 8628 §3.4.
_DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_NAME: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def metadata_of(definition: ProviderDefinition) -> dict[str, str]:
    """Return a connection's metadata with everything that the definition asks of it."""
    found = {name: value_of(variable) for name, variable in definition.variables.items()}
    for key in definition.required_metadata:
        found.setdefault(key, "made-up-1")
    return found


def value_of(variable: Variable) -> str:
    """Return a value that the variable may have: its example, else its default."""
    return variable.example or variable.default or "made-up"


def request_of(definition: ProviderDefinition, on: Endpoint, grant: Grant | None) -> Wanted:
    """Return what the definition says that it sends."""
    match on:
        case "token":
            return _token_request(definition, grant)
        case "check":
            return _asking(definition, definition.check)
        case "account":
            return _asking(definition, definition.account)
        case "revoke":
            return _revocation(definition)
        case "device":
            return _device_request(definition)


def _url(definition: ProviderDefinition, template: str | None) -> str:
    values = metadata_of(definition)
    # What remains in braces is {client_id}, which the player knows.
    filled = _NAME.sub(lambda match: values.get(match.group(1), match.group(0)), template or "")
    return re.sub(r"^http://", "https://", filled)


def _token_request(definition: ProviderDefinition, grant: Grant | None) -> Wanted:
    fields: dict[str, Scalar] = {"grant_type": str(grant)}
    url = definition.token_url
    if grant == "authorization_code":
        fields |= {"code": "{code}", "redirect_uri": "{redirect_uri}"}
        if definition.pkce:
            fields["code_verifier"] = "{code_verifier}"
        params = {**definition.token_params, **definition.code_params}
    elif grant == "device_code":
        fields = {"grant_type": _DEVICE_CODE, "device_code": "{device_code}"}
        params = definition.token_params
    else:
        if grant == "refresh_token":
            fields |= {"refresh_token": "{refresh_token}"}
        fields |= {name: metadata_of(definition)[key] for name, key in definition.metadata_fields.items()}
        params = {**definition.token_params, **definition.refresh_params}
        url = definition.refresh_url or url
    return Wanted(
        method="POST",
        url=_url(definition, url),
        client_auth=_AUTH[definition.client_auth],
        body_format=_format(definition.body_format),
        fields=_renamed(definition, {**fields, **_constants(params)}),
        headers=_constants(definition.token_headers),
    )


def _renamed(definition: ProviderDefinition, fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Add who the client is, where a body says it, and give everything the provider's names."""
    whole = dict(fields)
    if definition.client_auth is not ClientAuth.CLIENT_SECRET_BASIC:
        whole["client_id"] = "{client_id}"
    if definition.client_auth is ClientAuth.CLIENT_SECRET_POST:
        whole["client_secret"] = "{client_secret}"  # noqa: S105 - a placeholder
    names = {str(usual): name for usual, name in definition.field_names.items()}
    return {names.get(name, name): value for name, value in whole.items()}


def _format(body_format: BodyFormat) -> Any:  # noqa: ANN401 - one of the transcript's literals
    return body_format.value


def _constants(values: Mapping[str, str]) -> dict[str, str]:
    """Take constants over; one with braces in it could be taken for a reference."""
    return {name: "*" if "{" in value or "}" in value else value for name, value in values.items()}


def _templates(values: Mapping[str, str]) -> dict[str, Scalar]:
    """Take templates over; what has other words in braces is none of the placeholders (a GraphQL query)."""
    return {name: text if {*_NAME.findall(text)} <= REFERENCES else ANY for name, text in values.items()}


def _asking(definition: ProviderDefinition, table: Any) -> Wanted:  # noqa: ANN401 - a check or an account
    return Wanted(
        method=table.method,
        url=_url(definition, table.url),
        client_auth="bearer" if table.bearer else "none",
        body_format=_format(table.body_format) if table.body else "none",
        fields=_templates(table.body),
        query=_templates(table.query),
        headers={name: str(text) for name, text in _templates(table.headers).items()},
    )


def _revocation(definition: ProviderDefinition) -> Wanted:
    """RFC 7009 §2.1, or the definition's own way."""
    table = definition.revoke
    if table is None:
        kind = "refresh_token" if definition.grant is GrantKind.REFRESH_TOKEN else "access_token"
        return Wanted(
            method="POST",
            url=_url(definition, definition.revoke_url),
            client_auth=_AUTH[definition.client_auth],
            body_format="form",
            fields={"token": f"{{{kind}}}", "token_type_hint": kind},
        )
    token = f"{{{table.token.value}}}"
    auth = {
        RevokeAuth.CLIENT: _AUTH[definition.client_auth],
        RevokeAuth.BASIC: "basic",
        RevokeAuth.BODY: "body",
        # Not "bearer", which is the access token: what is taken back may be the other one.
        RevokeAuth.BEARER: "none",
        RevokeAuth.NONE: "none",
    }[table.auth]
    headers = {name: text.replace("{token}", token) for name, text in table.headers.items()}
    if table.auth is RevokeAuth.BEARER:
        headers["authorization"] = f"Bearer {token}"
    fields: dict[str, Scalar] = {name: text.replace("{token}", token) for name, text in table.body.items()}
    if table.auth is RevokeAuth.CLIENT:
        fields |= _renamed(definition, {})
    if table.auth is RevokeAuth.BODY:
        fields |= {"client_id": "{client_id}", "client_secret": "{client_secret}"}
    return Wanted(
        method=table.method,
        url=_url(definition, table.url),
        client_auth=auth,
        body_format=_format(table.body_format) if fields else "none",
        fields=fields,
        query={name: text.replace("{token}", token) for name, text in table.query.items()},
        headers=headers,
    )


def _device_request(definition: ProviderDefinition) -> Wanted:
    """RFC 8628 §3.1, in the format of the provider's token requests."""
    fields: dict[str, Scalar] = {}
    if definition.scopes:
        fields["scope"] = definition.scope_separator.join(definition.scopes)
    return Wanted(
        method="POST",
        url=_url(definition, definition.device_url),
        client_auth=_AUTH[definition.client_auth],
        body_format=_format(definition.body_format),
        fields=_renamed(definition, fields),
        headers=_constants(definition.token_headers),
    )
