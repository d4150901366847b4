"""A provider's definition in words: what it does, how long things live, what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from domain.provider import GrantKind, Replay, Rotation
from providers.app_credentials import webhook_variable
from providers.definition import ProviderDefinition
from providers.definition_tables import Judgement, Variable
from providers.events.tables import EventSecret, SecurityEventTokens
from providers.vocabulary import AccountSource, LifetimeUnit, RevokeAuth

_GRANTS: Final = {
    GrantKind.REFRESH_TOKEN: "access tokens expire, and a refresh token brings new ones",
    GrantKind.CLIENT_CREDENTIALS: "access tokens expire, and our own credentials bring new ones",
    GrantKind.NONE: "the token is not refreshed; health checks tell whether it lives",
}
_ROTATIONS: Final = {
    Rotation.NONE: "a refresh token stays the same when it is used",
    Rotation.OPTIONAL: "a refresh token may be replaced when it is used",
    Rotation.SINGLE_USE: "a refresh token is replaced whenever it is used",
}
_REPLAYS: Final = {
    Replay.FREELY: "is asked for again after a pause, with the same token",
    Replay.WITHIN_WINDOW: "is asked for again after a pause, inside that window, with the same token",
    Replay.LAST_RESORT: "is asked for once more, as late as the access token still serves; it may be lost",
}
_OUTCOMES: Final = {
    "grant_rejected": "the grant is dead: the user must reconnect",
    "client_misconfigured": "our client is wrong: calls stop, one alert",
    "transient": "the provider is in trouble: tried again",
    "rate_limited": "too many requests: tried again when it says",
    "refused": "refused: tried again with growing waits, never a death at first sight",
    "insufficient_scope": "the token lives, and lacks the scope",
    "outcome_unknown": "it may have happened: in doubt",
}
#: What stands behind the provider's own rules, in this order.
DEFAULTS: Final = (
    "what no rule matches: by the codes of RFC 6749 §5.2, RFC 6750 §3.1 and RFC 7009 §2.2, then the status",
    "what those do not know either: refused, which is tried again and never ends a grant",
)
_UNITS: Final = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))


def duration(length: timedelta) -> str:
    """Return a duration in its largest whole unit: 90 days, 1 hour, 3599 seconds."""
    for name, unit in _UNITS:
        if length >= unit and length % unit == timedelta(0):
            return _counted(length // unit, name)
    return _counted(int(length.total_seconds()), "second")


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def grant(definition: ProviderDefinition) -> str:
    """Return how the provider grants."""
    return f"{definition.grant}: {_GRANTS[definition.grant]}"


def rotation(definition: ProviderDefinition) -> Iterator[tuple[str, str]]:
    """Yield what becomes of a refresh token that is used, and of one whose answer was lost, by their keys."""
    if definition.grant is not GrantKind.REFRESH_TOKEN:
        return
    if definition.rotation is None:
        yield (
            "rotation",
            "unknown: treated as if a refresh token were replaced, and dead, as soon as it is used",
        )
    else:
        yield "rotation", f"{definition.rotation}: {_ROTATIONS[definition.rotation]}"
    if definition.rotation not in (None, Rotation.NONE):
        yield "replay_window", _window(definition)
    yield "a lost answer", _REPLAYS[definition.replay]


def _window(definition: ProviderDefinition) -> str:
    match definition.replay_window:
        case "unlimited":
            return "unlimited: the replaced one stays good as well"
        case "until_successor_used":
            return "the replaced one stays good until its successor is used"
        case timedelta() as window if window:
            return f"{duration(window)}: for so long the replaced one stays good"
        case _:
            return "none: the replaced one is dead at once"


def lifetimes(definition: ProviderDefinition) -> Iterator[tuple[str, str]]:
    """Yield how long things live: the key that says so, and the words."""
    told = {
        "access_token_lifetime": "an access token, where the answer says nothing",
        "refresh_token_lifetime": "a refresh token, from when it is issued",
        "refresh_token_idle_lifetime": "a refresh token that is not used",
        "grant_lifetime": "the grant, from the consent, however often it is refreshed",
    }
    for key, what in told.items():
        length = getattr(definition, key)
        if length is not None:
            yield key, f"{duration(length)}: {what}"
    limit = definition.grant_limit
    if limit is not None:
        beyond = {"oldest_dies": "one more ends the oldest", "refused": "one more is refused"}[limit.beyond]
        yield "grant_limit", f"{limit.max:,} living grants of one account; {beyond}"


def rates(definition: ProviderDefinition) -> Iterator[tuple[str, str]]:
    """Yield how often the provider is called at most."""
    if definition.max_requests_per_second is not None:
        yield "max_requests_per_second", f"{definition.max_requests_per_second:g} token requests a second"
    per_account = definition.max_requests_per_second_per_account
    if per_account is not None:
        yield "max_requests_per_second_per_account", f"{per_account:g} a second for each account"
    if definition.check is not None and definition.check.max_requests_per_second is not None:
        yield "check.max_requests_per_second", f"{definition.check.max_requests_per_second:g} checks a second"


def account(definition: ProviderDefinition) -> str:
    """Return how it is found out who a user is."""
    table = definition.account
    if table is None:
        return "not told: a user has one account here"
    where = {
        AccountSource.REQUEST: f"asked at {table.url}",
        AccountSource.ANSWER: "in the code exchange's answer",
        AccountSource.ID_TOKEN: "in the id_token's claims",
        AccountSource.CALLBACK: "in the callback's parameters",
        AccountSource.VARIABLE: "what the URLs were filled with",
    }[table.source]
    shown = "" if table.label is None else f", shown as {table.label}"
    return f"{where}: {table.id}{shown}"


def revocation(definition: ProviderDefinition) -> str:
    """Return how a token is taken back."""
    if definition.revocation_url is None:
        where = "" if definition.manage_url is None else f"; users remove the app at {definition.manage_url}"
        return f"not possible: a disconnect erases here alone{where}"
    if definition.revoke is None:
        return f"POST {definition.revoke_url} (RFC 7009)"
    revoke = definition.revoke
    who = {
        RevokeAuth.CLIENT: f"the client by {definition.client_auth}",
        RevokeAuth.BASIC: "the client by Basic authentication",
        RevokeAuth.BODY: "the client in the body",
        RevokeAuth.BEARER: "the token itself",
        RevokeAuth.NONE: "nobody",
    }[revoke.auth]
    token = revoke.token.value.replace("_", " ")
    return f"{revoke.method} {revoke.url} with the {token}, authenticated by {who}"


def events(definition: ProviderDefinition) -> str:
    """Return what the provider pushes to us, and what signs it."""
    table = definition.events
    if table is None:
        return "nothing: a revocation is noticed by the next refresh or check"
    where = f"received at /oauth/{definition.id}/events"
    if isinstance(table, SecurityEventTokens):
        return f"security event tokens of {table.issuer}, {where}, verified by the keys at {table.jwks_url}"
    told = "; ".join(f"{topic or 'anything'}: {meaning}" for topic, meaning in table.topics.items())
    named = webhook_variable(definition.id)
    secret = "the client secret" if table.secret is EventSecret.CLIENT_SECRET else named
    return f"webhooks ({told}), {where}, signed by {secret}"


def variable(name: str, it: Variable) -> str:
    """Return what a variable is, and how it is given."""
    parts = [] if it.help is None else [it.help]
    if it.example is not None:
        parts.append(f"such as {it.example}")
    if it.from_callback is not None:
        parts.append(f"learned from the callback's {it.from_callback.parameter}")
    if it.from_answer is not None:
        parts.append(f"learned from {it.from_answer.member} of the code exchange's answer")
    if it.default is not None:
        parts.append(f"{it.default} where nothing is given")
    parts.append(f'given as "metadata": {{"{name}": …}}')
    return "; ".join(parts)


def answers(definition: ProviderDefinition) -> Iterator[tuple[str, str]]:
    """Yield how the token endpoint's answers are read, where that is not the RFCs' way."""
    if definition.error_member != ("error",):
        yield "error_member", f"an error stands in {', else in '.join(definition.error_member)}"
    if definition.answer_ok is not None:
        yield "answer_ok", f"a success says {definition.answer_ok.member} = {definition.answer_ok.equals}"
    if definition.lifetime_unit is not LifetimeUnit.SECONDS:
        yield "lifetime_unit", f"lifetimes are in {definition.lifetime_unit}"
    for name, paths in definition.answer_names.items():
        yield f"answer_names.{name}", f"stands in {', else in '.join(paths)}"


def judgement(rule: Judgement) -> Mapping[str, object]:
    """Return a rule as a row of the judgement table."""
    says = "" if rule.code is None else f"{rule.member} = {' or '.join(rule.code)}"
    if rule.where is not None:
        says = f"{says} and {rule.where.member} has {rule.where.contains!r}".removeprefix(" and ")
    return {
        "on": rule.on,
        "status": rule.status or "any",
        "says": says or "anything",
        "outcome": rule.outcome,
        "means": _OUTCOMES[rule.outcome],
        "shown_as": rule.name,
    }
