"""The code exchange: what is asked when a user comes back with a code, and what the answer brings.

RFC 6749 §4.1.3 with RFC 7636 §4.5, in each provider's dialect. The authorization request is no call of ours:
the user's browser makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import SecretStr

from domain.errors import ConfigurationError, OutcomeUnknown
from domain.token import Answer
from providers.accounts import Account, account_of, claims_of
from providers.answers import member
from providers.app_credentials import AppCredentials
from providers.definition import ProviderDefinition
from providers.definition_tables import Variable
from providers.encoding import required, secret_of, sendable, token_body
from providers.http import WireAnswer, WireRequest
from providers.judgement import tokens_of
from providers.patterns import read
from providers.refusals import Reading
from providers.requests import NO_METADATA, PreparedCall
from providers.urls import destination
from providers.vocabulary import Endpoint

#: Of a text in an answer, more is not looked through for a variable's value.
_LONGEST_TEXT: Final = 2048


@dataclass(frozen=True, slots=True)
class Connected:
    """What a code exchange, or a device's poll, brought. `repr` shows no token.

    Attributes:
        account: Who the user is, where no request is needed to know it; None: ask
            (`accounts.prepare_account`), or nothing tells it.
        metadata: Variables of URLs that were learned, to be kept in the connection's metadata.
    """

    answer: Answer
    account: Account | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def prepare_code_exchange(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    *,
    code: SecretStr,
    redirect_uri: str,
    code_verifier: SecretStr | None,
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the one POST that makes tokens of a code.

    Args:
        redirect_uri: Exactly the one of the authorization request (RFC 6749 §4.1.3).
        code_verifier: Its PKCE verifier; None where none was used.
        metadata: Of the connection that is being made: what people gave, and what the callback told.

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: The provider takes no codes, or a part of its URL is missing; says which.
    """
    app = required(definition, app)
    if definition.token_url is None or definition.authorize_url is None:
        raise ConfigurationError(
            f"provider {definition.id!r} takes no codes; it needs authorize_url and token_url for that"
        )
    fields = {
        "grant_type": "authorization_code",
        "code": sendable(code, "authorization code"),
        "redirect_uri": redirect_uri,
    }
    if code_verifier is not None:
        fields["code_verifier"] = sendable(code_verifier, "PKCE verifier")
    return token_request(definition, definition.token_url, app, fields, definition.code_params, metadata)


def token_request(
    definition: ProviderDefinition,
    url: str,
    app: AppCredentials,
    fields: dict[str, str],
    params: Mapping[str, str],
    metadata: Mapping[str, object],
) -> PreparedCall:
    """Build a request that begins a grant, with what every token request of the provider carries."""
    secrets = (*(fields[name] for name in ("code", "code_verifier", "device_code") if name in fields),)
    for name, key in definition.metadata_fields.items():
        if metadata.get(key) is not None:
            fields[name] = str(metadata[key])
    fields.update(definition.token_params)
    fields.update(params)
    headers = dict(definition.token_headers)
    content = token_body(fields, definition, app, headers)
    # A code is spent by being sent, whether the answer arrives or not.
    request = WireRequest("POST", destination(definition, url, metadata), headers, content, fresh=True)
    known = (*secrets, secret_of(app))
    return PreparedCall(definition, Endpoint.TOKEN, request, known, definition.id, metadata)


def judge_code_exchange(
    definition: ProviderDefinition,
    app: AppCredentials,
    answer: WireAnswer,
    *,
    callback: Mapping[str, str] | None = None,
    metadata: Mapping[str, object] = NO_METADATA,
    secrets: Iterable[str] = (),
    now: datetime | None = None,
) -> Connected:
    """Return what the provider's answer to a code exchange brings.

    Args:
        callback: The parameters of the authorization callback; None where there was none.
        metadata: What the request's URL was filled with.
        secrets: What the request carried; never part of an error's code, an id or a label.
        now: The caller's clock, for instants in an answer without a date; None: they are then of no use.

    Raises:
        GrantRejected: The provider does not honour the code (spent, expired, for another client or URI).
        OutcomeUnknown: It may have honoured it, and no tokens came: the user has to begin again.
        ProviderError: Any other kind: nothing was granted.
    """
    reading = Reading(definition, Endpoint.TOKEN, answer, secrets)
    reading.raise_refusal(trouble=OutcomeUnknown, ok=definition.answer_ok)
    return brought(
        definition, app, reading, callback=callback or {}, metadata=metadata, secrets=secrets, now=now
    )


def brought(
    definition: ProviderDefinition,
    app: AppCredentials,
    reading: Reading,
    *,
    callback: Mapping[str, str],
    metadata: Mapping[str, object],
    secrets: Iterable[str],
    now: datetime | None,
) -> Connected:
    """Return what a good answer brings: tokens, the account, and the variables that were learned.

    Raises:
        Malformed: It holds no usable tokens.
    """
    answer = tokens_of(definition, reading, secrets, now)
    issued = (answer.access_token, answer.refresh_token, answer.id_token)
    account = account_of(
        definition,
        answer=reading.document,
        claims=claims_of(definition, app, answer.id_token),
        callback=callback,
        metadata=metadata,
        secrets=(*secrets, *(token.get_secret_value() for token in issued if token is not None)),
    )
    learned = learned_from_callback(definition, callback) | _learned(definition, reading.document)
    return Connected(answer, account, learned)


def learned_from_callback(definition: ProviderDefinition, callback: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a callback's parameters tell, by their key in metadata.

    What fits no pattern is left out. The code exchange's URL may need them.
    """
    found = {}
    for name, variable in definition.variables.items():
        where = variable.from_callback
        text = None if where is None else callback.get(where.parameter)
        if where is not None and text is not None and _fits(value := _value(text, where.pattern), variable):
            found[name] = value
    return found


def _learned(definition: ProviderDefinition, document: object) -> dict[str, str]:
    found = {}
    for name, variable in definition.variables.items():
        where = variable.from_answer
        if where is None:
            continue
        text = member(document, where.member)
        if isinstance(text, bool) or not isinstance(text, str | int):
            continue
        if _fits(value := _value(str(text), where.pattern), variable):
            found[name] = value
    return found


def _value(text: str, pattern: str | None) -> str:
    """Return what a text tells: all of it, or the group of its pattern; "" where it does not match."""
    text = text[:_LONGEST_TEXT]
    match = None if pattern is None else re.fullmatch(pattern, text)
    return text if pattern is None else "" if match is None else match.group(1) or ""


def _fits(value: str, variable: Variable) -> bool:
    # No pattern of a variable's matches nothing.
    return read(variable.pattern).matches(value)
