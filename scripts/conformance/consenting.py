"""Compares where a user's browser is sent to agree with what the provider insists on there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from domain.errors import ConfigurationError
from providers.app_credentials import AppCredentials
from providers.authorization import prepare_authorization
from providers.definition import ProviderDefinition
from scripts.conformance.findings import Lie
from simulator.playing.known import Known
from simulator.playing.transcript import ANY, Consent

_NAME: Final = "a user is asked to agree"


def astray(definition: ProviderDefinition, consent: Consent) -> Iterator[Lie]:
    """Yield what the authorization request (RFC 6749 §4.1.1) has otherwise than the provider wants it."""

    def lie(provider: str, says: str, mend: str) -> Lie:
        return Lie(_NAME, provider, says, mend, consent.source)

    known = Known.made_up()
    try:
        asked = prepare_authorization(
            definition,
            AppCredentials(known.client_id, SecretStr(known.client_secret)),
            redirect_uri=known.redirect_uri,
            state=known.code,
            scopes=definition.scopes,
            metadata=consent.variables,
        )
    except ConfigurationError as error:
        yield lie(f"sends users to {consent.url}", f"cannot do so: {error}", "authorize_url")
        return
    parts = urlsplit(asked.url.get_secret_value())
    if (here := f"{parts.scheme}://{parts.netloc}{parts.path}") != consent.url:
        yield lie(f"sends users to {consent.url}", f"makes it {here}", "authorize_url")
    sent = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in consent.query.items():
        if not _is_there(known.fill(value), sent.get(name)):
            found = "leaves it out" if name not in sent else "gives it another value"
            wanted = name if value == ANY else f"{name} = {value}"
            yield lie(f"insists on {wanted}", found, _key(value, name))


def _is_there(wanted: str, sent: str | None) -> bool:
    """Compare as OpenID Connect Core §3.1.2.1 does for `prompt`: a list of words may have more of them."""
    if sent is None or wanted == ANY:
        return bool(sent)
    return wanted == sent or set(wanted.split()) <= set(sent.split())


def _key(value: str, name: str) -> str:
    if value.startswith("{"):
        return f"authorize_names.{value.strip('{}')}"
    return "pkce" if name.startswith("code_challenge") else f"authorize_params.{name}"
