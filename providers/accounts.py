"""Who a user is at a provider: a request of its own, or a look into what the code exchange brought.

What a provider calls its user is shown to people and kept in the clear, so it is bounded and printable, and a
token that stands in its place is not taken for it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from domain.errors import ConfigurationError, Malformed, Unavailable
from providers.answers import member
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.kept_texts import shown
from providers.refusals import Reading
from providers.requests import NO_METADATA, PreparedCall, asking
from providers.toml_values import VARIABLE
from providers.url_templates import names_in
from providers.vocabulary import AccountSource, Endpoint


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider.

    Attributes:
        id: Tells it from the user's other accounts; 1 to 255 printable characters.
        label: What people see; None where the provider tells nothing of the kind.
    """

    id: str
    label: str | None = None


def prepare_account(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    access_token: SecretStr,
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the request that asks who the user is.

    Raises:
        ClientMisconfigured: The request needs our client id, and we have none.
        ConfigurationError: The definition asks nobody, or the connection lacks a part of the URL.
    """
    account = definition.account
    if account is None or account.url is None:
        raise ConfigurationError(
            f"provider {definition.id!r} is not asked who a user is; add [providers.{definition.id}.account] "
            'with from = "request"'
        )
    return asking(definition, Endpoint.ACCOUNT, account, account.url, app, access_token, metadata)


def judge_account(
    definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()
) -> Account:
    """Return who the user is, by the answer to `prepare_account`'s request.

    Raises:
        GrantRejected: The provider does not accept the token.
        Malformed: The answer does not say who it is.
        ProviderError: Any other kind: the request was not answered; ask again.
    """
    reading = Reading(definition, Endpoint.ACCOUNT, answer, secrets)
    reading.raise_refusal(trouble=Unavailable)
    found = account_in(definition, reading.document, secrets=secrets)
    if found is None:
        code = "answer_too_large" if answer.oversized else "answer_account_invalid"
        raise Malformed(code, http_status=answer.status)
    return found


def account_in(
    definition: ProviderDefinition, document: object, *, secrets: Iterable[str] = ()
) -> Account | None:
    """Return the account that an answer, an id_token's claims or a callback's parameters name; None if none.

    Args:
        secrets: Never taken for an id or a label.
    """
    if definition.account is None:
        return None
    known = tuple(secrets)
    identity = _shown(member(document, definition.account.id), known)
    if identity is None:
        return None
    path = definition.account.label
    return Account(identity, None if path is None else _shown(member(document, path), known))


def account_of(
    definition: ProviderDefinition,
    *,
    answer: object,
    claims: object,
    callback: Mapping[str, str],
    metadata: Mapping[str, object] = NO_METADATA,
    secrets: Iterable[str] = (),
) -> Account | None:
    """Return who the user is where no request is needed to know it; None where one is, or nothing says it.

    Args:
        metadata: What the URLs of the call that brought the answer were filled with.
    """
    if definition.account is None:
        return None
    match definition.account.source:
        case AccountSource.ANSWER:
            document = answer
        case AccountSource.ID_TOKEN:
            document = claims
        case AccountSource.CALLBACK:
            # A parameter's name may have a dot, and is no path.
            name = definition.account.id
            identity = _shown(callback.get(name), tuple(secrets))
            label = definition.account.label
            shown = None if label is None else _shown(callback.get(label), tuple(secrets))
            return None if identity is None else Account(identity, shown)
        case AccountSource.VARIABLE:
            # Of the URL that was asked, whatever else came with the browser.
            identity = _shown(_filled(definition, definition.account.id, metadata), tuple(secrets))
            return None if identity is None else Account(identity)
        case AccountSource.REQUEST:
            return None
    return account_in(definition, document, secrets=secrets)


def _filled(definition: ProviderDefinition, template: str, metadata: Mapping[str, object]) -> str | None:
    """Return a text with the variables that the URLs were filled with; None where one has no value."""
    values: dict[str, object] = {}
    for name in names_in(template):
        given = metadata.get(name)
        values[name] = definition.variables[name].default if given is None else given
    if None in values.values():
        return None
    return VARIABLE.sub(lambda match: str(values[match.group(1)]), template)


def claims_of(
    definition: ProviderDefinition, app: AppCredentials, id_token: SecretStr | None
) -> Mapping[str, object] | None:
    """Return an id_token's claims; None where there is none, or it was made for somebody else.

    It comes from the token endpoint over TLS, which OpenID Connect Core §3.1.3.7 takes for proof of who made
    it; its signature is not verified. Issuer (where the definition names one) and audience are.
    """
    if id_token is None:
        return None
    parts = id_token.get_secret_value().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return None
    if not isinstance(claims, dict):
        return None
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    if app.client_id not in meant:
        return None
    return claims if definition.issuer is None or _is_issuer(claims.get("iss"), definition.issuer) else None


def _is_issuer(said: object, issuer: str) -> bool:
    # Google leaves the scheme out at times: https://developers.google.com/identity/openid-connect/openid-connect
    return isinstance(said, str) and said.removeprefix("https://") == issuer.removeprefix("https://")


def _shown(value: object, secrets: Iterable[str]) -> str | None:
    """Return a text or a number as it may be kept and shown; None for what may not, or repeats a secret."""
    text = shown(value)
    return None if text is None or any(secret and secret in text for secret in secrets) else text
