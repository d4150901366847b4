"""What can be tried of a definition's token requests without a transcript."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from domain.provider import GrantKind, Replay
from providers.definition import ProviderDefinition
from providers.vocabulary import AccountSource, LifetimeUnit
from scripts.conformance.answering import SENT, account_id, is_both, token_answer
from scripts.conformance.making import connects, error, exchange, grant_of, limits, refusal
from scripts.conformance.rows import UNHEARD_OF
from scripts.conformance.sending import value_of
from simulator.playing.transcript import Exchange, Grant, Means

_SECONDS: Final = 3600
_UNITS: Final = {
    LifetimeUnit.SECONDS: _SECONDS,
    LifetimeUnit.MILLISECONDS: 1000 * _SECONDS,
    LifetimeUnit.MINUTES: _SECONDS // 60,
}
#: What the RFCs say where no row of the definition's says otherwise: status, code, outcome.
_TOKEN_ERRORS: Final = (
    (400, "invalid_grant", "grant_rejected"),
    (400, "invalid_client", "client_misconfigured"),
    (401, "invalid_client", "client_misconfigured"),
    (400, "unauthorized_client", "client_misconfigured"),
    (400, "unsupported_grant_type", "client_misconfigured"),
    (400, "temporarily_unavailable", "transient"),
    (503, None, "transient"),
    (404, None, "client_misconfigured"),
)


def token_cases(definition: ProviderDefinition) -> Iterator[Exchange]:
    """Yield a code exchange, refreshes of every kind, and refusals, as far as the definition has them.

    Raises:
        Contradiction: The definition looks for two things at one place of an answer; says where.
    """
    if connects(definition):
        yield tokens(definition, "connecting", "authorization_code", refresh_token=True)
    grant = grant_of(definition)
    if grant is not None:
        yield from _refreshes(definition, grant)
    if (asked := grant or ("authorization_code" if connects(definition) else None)) is not None:
        yield from _errors(definition, asked)


def tokens(
    definition: ProviderDefinition,
    name: str,
    grant: Grant,
    *,
    refresh_token: bool,
    expires_in: int | None = _SECONDS,
    **fields: object,
) -> Exchange:
    """Return a successful token request; lifetimes in the definition's unit, unless `fields` has them."""
    refreshes = definition.grant is GrantKind.REFRESH_TOKEN
    # Where one token is both, an access token is handed out with everything.
    both = refreshes and is_both(definition)
    hands_out = refreshes and refresh_token and not both
    given: dict[str, object] = {"scope": definition.scope_separator.join(definition.scopes) or None, **fields}
    if expires_in is not None and not ({"expires_in", "expires_at"} & fields.keys()):
        given["expires_in"] = _UNITS[definition.lifetime_unit]
    if hands_out:
        given["refresh_token"] = "{refresh_token}"  # noqa: S105 - a placeholder
    connecting = grant in ("authorization_code", "device_code")
    # Of a device's user no browser comes back with anything.
    called_back = grant == "authorization_code"
    source = None if definition.account is None else definition.account.source
    told_here = (
        connecting and source in (AccountSource.ANSWER, AccountSource.ID_TOKEN, AccountSource.VARIABLE)
    ) or (called_back and source is AccountSource.CALLBACK)
    means = Means(
        outcome="tokens",
        expires_in=expires_in,
        refresh_token="new" if hands_out or both else "kept",
        account_id=account_id(definition) if told_here else None,
        refresh_expires_in=_SECONDS if fields.keys() & {"refresh_expires_in", "refresh_expires_at"} else None,
        variables={
            key: value_of(variable)
            for key, variable in definition.variables.items()
            if (connecting and variable.from_answer is not None)
            or (called_back and variable.from_callback is not None)
        },
    )
    told = token_answer(definition, connecting=connecting, **given)
    return exchange(definition, name, "token", told, means, grant=grant)


def _refreshes(definition: ProviderDefinition, grant: Grant) -> Iterator[Exchange]:
    if definition.grant is GrantKind.REFRESH_TOKEN:
        yield tokens(definition, "refreshing, with a new refresh token", grant, refresh_token=True)
    yield tokens(definition, "refreshing, without one", grant, refresh_token=False)
    lifetime = _UNITS[definition.lifetime_unit]
    yield _expiring(definition, grant, str(lifetime))
    yield tokens(definition, "no expiry", grant, refresh_token=True, expires_in=None)
    if "expires_at" in definition.answer_names:
        end = SENT + timedelta(seconds=_SECONDS)
        forms = {
            "Unix seconds": int(end.timestamp()),
            "Unix milliseconds": int(end.timestamp() * 1000),
            "ISO 8601": end.isoformat(timespec="seconds"),
        }
        for form, value in forms.items():
            yield tokens(
                definition, f"an absolute expiry in {form}", grant, refresh_token=True, expires_at=value
            )
    if "refresh_expires_at" in definition.answer_names:
        instant = int(SENT.timestamp()) + _SECONDS
        name = "a refresh token that expires at an instant"
        yield tokens(definition, name, grant, refresh_token=True, refresh_expires_at=instant)
    if "refresh_expires_in" in definition.answer_names:
        yield tokens(
            definition, "a refresh token that expires", grant, refresh_token=True, refresh_expires_in=lifetime
        )


def _expiring(definition: ProviderDefinition, grant: Grant, text: str) -> Exchange:
    told = token_answer(definition, connecting=False, expires_in=text)
    means = Means(
        outcome="tokens", expires_in=_SECONDS, refresh_token="new" if is_both(definition) else "kept"
    )
    return exchange(definition, "an expiry that is text", "token", told, means, grant=grant)


def _errors(definition: ProviderDefinition, grant: Grant) -> Iterator[Exchange]:
    # A code, unlike such a refresh token, is spent by being sent.
    freely = definition.replay is Replay.FREELY and grant != "authorization_code"
    errors = [*_TOKEN_ERRORS, (500, None, "transient" if freely else "outcome_unknown")]
    errors += [(status, UNHEARD_OF, "refused") for status in (400, 403, 422)]
    errors.append((200, "invalid_grant", "grant_rejected"))
    for status, code, outcome in errors:
        name, told = f"HTTP {status} {code or 'alone'}", error(definition, status, code)
        yield from refusal(definition, name, "token", told, outcome, grant=grant)
    yield from limits(definition, "token", grant)
