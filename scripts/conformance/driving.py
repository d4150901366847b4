"""Makes the real client do an exchange's call, and says what it concluded in the words of transcripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    InsufficientScope,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.provider import GrantKind
from domain.token import Answer, Credentials, TokenKind
from providers.app_credentials import AppCredentials
from providers.client import ProviderClient
from providers.connecting import Connected, learned_from_callback, prepare_code_exchange
from providers.definition import ProviderDefinition
from providers.device import Pending, prepare_device_authorization, prepare_device_poll
from providers.vocabulary import AccountSource
from scripts.conformance.answering import is_both, telling
from scripts.conformance.judging import Conclusion
from simulator.playing.known import Known
from simulator.playing.transcript import Exchange

_DEADLINE: Final = timedelta(seconds=20)
#: By kind, the more special ones first.
_OUTCOMES: Final[tuple[tuple[type[ProviderError], str], ...]] = (
    (NotSent, "not_sent"),
    (RateLimited, "rate_limited"),
    (Unavailable, "transient"),
    (OutcomeUnknown, "outcome_unknown"),
    (Refused, "refused"),
    (GrantRejected, "grant_rejected"),
    (ClientMisconfigured, "client_misconfigured"),
    (InsufficientScope, "insufficient_scope"),
)


def conclude(
    client: ProviderClient, definition: ProviderDefinition, exchange: Exchange, known: Known
) -> Conclusion:
    """Make the call, and return what the client makes of the answer.

    Args:
        definition: With its hosts moved onto the player.

    Raises:
        ConfigurationError: The definition cannot make such a call; says what it lacks.
    """
    try:
        return _call(client, definition, exchange, known)
    except ProviderError as error:
        outcome = next(word for kind, word in _OUTCOMES if isinstance(error, kind))
        after = None if error.retry_after is None else int(error.retry_after.total_seconds())
        return Conclusion(outcome, code=error.code, retry_after=after)


def _call(
    client: ProviderClient, definition: ProviderDefinition, exchange: Exchange, known: Known
) -> Conclusion:
    app = AppCredentials(known.client_id, SecretStr(known.client_secret))
    metadata = {**dict.fromkeys(definition.required_metadata, "made-up-1"), **exchange.variables}
    access_token, refresh_token = SecretStr(known.access_token), SecretStr(known.refresh_token)
    match exchange.on:
        case "token":
            return _tokens(client, definition, app, exchange, known, metadata)
        case "check":
            alive = client.check(definition, app, access_token, metadata, deadline=_DEADLINE)
            return Conclusion("alive", scope=alive.scope)
        case "revoke":
            kind = definition.revoked_token
            if definition.grant is not GrantKind.REFRESH_TOKEN:
                kind = TokenKind.ACCESS_TOKEN
            token = refresh_token if kind is TokenKind.REFRESH_TOKEN else access_token
            client.revoke(definition, app, token, kind, metadata, deadline=_DEADLINE)
            return Conclusion("revoked")
        case "account":
            account = client.account(definition, app, access_token, metadata, deadline=_DEADLINE)
            return Conclusion("account", account_id=account.id, account_label=account.label)
        case "device":
            asked = prepare_device_authorization(definition, app, scopes=definition.scopes, metadata=metadata)
            client.authorize_device(asked, deadline=_DEADLINE)
            return Conclusion("device")


def _tokens(
    client: ProviderClient,
    definition: ProviderDefinition,
    app: AppCredentials,
    exchange: Exchange,
    known: Known,
    metadata: Mapping[str, object],
) -> Conclusion:
    if exchange.grant == "authorization_code":
        callback = _callback(definition, exchange)
        prepared = prepare_code_exchange(
            definition,
            app,
            code=SecretStr(known.code),
            redirect_uri=known.redirect_uri,
            code_verifier=SecretStr(known.code_verifier) if definition.pkce else None,
            metadata={**metadata, **learned_from_callback(definition, callback)},
        )
        brought = client.exchange_code(prepared, app, deadline=_DEADLINE, callback=callback)
        return _brought(definition, brought, known)
    if exchange.grant == "device_code":
        poll = prepare_device_poll(
            definition, app, device_code=SecretStr(known.device_code), metadata=metadata
        )
        polled = client.poll_device(poll, app, deadline=_DEADLINE)
        return Conclusion("pending") if isinstance(polled, Pending) else _brought(definition, polled, known)
    credentials = Credentials(SecretStr(known.access_token), SecretStr(known.refresh_token))
    answer = client.refresh(definition, app, credentials, metadata, deadline=_DEADLINE)
    return _answered(definition, answer, known)


def _callback(definition: ProviderDefinition, exchange: Exchange) -> dict[str, str]:
    """Return what the browser brought; where the transcript shows nothing, what the definition looks for."""
    if exchange.callback:
        return exchange.callback
    learned: dict[str, str | None] = {}
    for name, variable in definition.variables.items():
        value = exchange.means.variables.get(name) or exchange.variables.get(name)
        if (back := variable.from_callback) is not None:
            learned[back.parameter] = None if value is None else telling(back.pattern, value)
    account = definition.account
    if account is not None and account.source is AccountSource.CALLBACK:
        learned.setdefault(account.id, exchange.means.account_id)
        if account.label is not None:
            learned.setdefault(account.label, exchange.means.account_label)
    return {name: value for name, value in learned.items() if value is not None}


def _brought(definition: ProviderDefinition, brought: Connected, known: Known) -> Conclusion:
    account = brought.account
    return replace(
        _answered(definition, brought.answer, known),
        account_id=None if account is None else account.id,
        account_label=None if account is None else account.label,
        variables=dict(brought.metadata),
    )


def _answered(definition: ProviderDefinition, answer: Answer, known: Known) -> Conclusion:
    refresh_token = "kept"  # noqa: S105 - a word
    if answer.refresh_token is not None:
        words = {known.new_refresh_token: "new", known.refresh_token: "same"}
        if is_both(definition):
            words[known.new_access_token] = "new"
        refresh_token = words.get(answer.refresh_token.get_secret_value(), "wrong")
    return Conclusion(
        "tokens",
        access_token_right=answer.access_token.get_secret_value() == known.new_access_token,
        refresh_token=refresh_token,
        expires_in=_seconds(answer.expires_in),
        refresh_expires_in=_seconds(answer.refresh_expires_in),
        scope=answer.scope,
    )


def _seconds(lifetime: timedelta | None) -> int | None:
    return None if lifetime is None else int(lifetime.total_seconds())
