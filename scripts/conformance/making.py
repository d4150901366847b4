"""Exchanges that follow from a definition alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

from domain.provider import GrantKind
from providers.definition import ProviderDefinition
from providers.vocabulary import AccountSource
from scripts.conformance.answering import DATED, SENT
from scripts.conformance.documents import document_of
from scripts.conformance.findings import ITSELF
from scripts.conformance.rows import row_of
from scripts.conformance.sending import metadata_of, request_of
from simulator.playing.transcript import Endpoint, Exchange, Grant, Means, Told


def exchange(
    definition: ProviderDefinition,
    name: str,
    on: Endpoint,
    told: Told,
    means: Means,
    *,
    grant: Grant | None = None,
) -> Exchange:
    """Return an exchange of the definition's own: what it says it sends, and an answer."""
    return Exchange(
        name=name,
        on=on,
        grant=grant,
        source=ITSELF,
        documented=False,
        variables=metadata_of(definition),
        request=request_of(definition, on, grant),
        answer=told,
        means=means,
    )


def refusal(
    definition: ProviderDefinition,
    name: str,
    on: Endpoint,
    told: Told,
    outcome: str,
    *,
    grant: Grant | None = None,
) -> Iterator[Exchange]:
    """Yield an exchange that is refused, unless a row of the judgement table is for its answer."""
    if row_of(definition, on, told.status, told.body) is None:
        means = Means.model_validate({"outcome": outcome})
        yield exchange(definition, name, on, told, means, grant=grant)


def error(definition: ProviderDefinition, status: int, code: str | None) -> Told:
    """Return an answer with a code where the definition looks for one; None: without a body."""
    body = "" if code is None else json.dumps(document_of([(definition.error_member[0], code)]))
    return Told(status=status, body=body)


def limits(definition: ProviderDefinition, on: Endpoint, grant: Grant | None = None) -> Iterator[Exchange]:
    """Yield rate limits with Retry-After in both forms (RFC 9110 §10.2.3)."""
    if row_of(definition, on, 429, "") is not None:
        return
    until = format_datetime(SENT + timedelta(seconds=90), usegmt=True)
    forms = {
        "Retry-After in seconds": ({"retry-after": "7"}, 7),
        "Retry-After as a date": ({"retry-after": until, **DATED}, 90),
    }
    for name, (headers, seconds) in forms.items():
        means = Means(outcome="rate_limited", retry_after=seconds)
        told = Told(status=429, headers=headers)
        yield exchange(definition, f"{on}: {name}", on, told, means, grant=grant)


def grant_of(definition: ProviderDefinition) -> Grant | None:
    """Return the grant by which the definition refreshes, None where it does not."""
    match definition.grant:
        case GrantKind.REFRESH_TOKEN:
            return "refresh_token"
        case GrantKind.CLIENT_CREDENTIALS:
            return "client_credentials"
        case GrantKind.NONE:
            return None


def has(definition: ProviderDefinition, on: Endpoint) -> bool:
    """Say whether the definition has a request to this endpoint at all."""
    match on:
        case "token":
            return definition.token_url is not None
        case "check":
            return definition.check is not None
        case "revoke":
            return definition.revocation_url is not None
        case "account":
            return definition.account is not None and definition.account.source is AccountSource.REQUEST
        case "device":
            return definition.device_url is not None


def connects(definition: ProviderDefinition) -> bool:
    """Say whether codes are exchanged."""
    return definition.authorize_url is not None and definition.token_url is not None
