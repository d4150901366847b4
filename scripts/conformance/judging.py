"""Compares what the client concluded with what it must conclude."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from domain.provider import Rotation
from providers.definition import ProviderDefinition
from providers.vocabulary import AccountSource
from scripts.conformance.findings import Lie
from scripts.conformance.rows import row_of
from simulator.playing.transcript import Exchange


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the client made of an answer, in the words of transcripts.

    Attributes:
        access_token_right: It took the access token that was handed out; None: none was asked for.
        refresh_token: ``new``: it took the one that was handed out; ``same``: that was the one it had;
            ``kept``: it goes on with the old one; ``wrong``: it took something else.
    """

    outcome: str
    code: str | None = None
    retry_after: int | None = None
    access_token_right: bool | None = None
    refresh_token: str | None = None
    expires_in: int | None = None
    refresh_expires_in: int | None = None
    scope: tuple[str, ...] | None = None
    account_id: str | None = None
    account_label: str | None = None
    variables: dict[str, str] = field(default_factory=dict)


def lies(definition: ProviderDefinition, exchange: Exchange, concluded: Conclusion) -> Iterator[Lie]:
    """Yield each thing that was concluded otherwise than it must be."""
    means = exchange.means

    def lie(provider: str, says: str, mend: str) -> Lie:
        return Lie(exchange.name, provider, says, mend, exchange.source)

    answered = f"answers HTTP {exchange.answer.status}, which means {means.outcome}"
    if concluded.outcome != means.outcome:
        code = f" ({concluded.code})" if concluded.code else ""
        yield lie(
            answered, f"makes it {concluded.outcome}{code}", _of_outcome(definition, exchange, concluded)
        )
        return
    if means.code is not None and concluded.code != means.code:
        yield lie(
            f"{answered}, code {means.code}", f"shows {concluded.code}", _judgement(definition, exchange)
        )
    if means.retry_after is not None and concluded.retry_after != means.retry_after:
        yield lie(
            f"asks to stay away for {means.retry_after} s", f"waits {concluded.retry_after}", "judgements"
        )
    if means.outcome == "tokens":
        yield from _of_tokens(exchange, concluded, lie)
        yield from _of_rotation(definition, exchange, lie)
    if means.scope is not None and set(means.scope) != set(concluded.scope or ()):
        where = "check.scope_member" if exchange.on == "check" else "answer_names.scope"
        yield lie(f"grants {_list(means.scope)}", f"reads {_list(concluded.scope)}", where)
    if means.account_id is not None and means.account_id != concluded.account_id:
        named = definition.account is not None and definition.account.source is AccountSource.ID_TOKEN
        where = "account.id, or issuer" if named else "account.id"
        yield lie(f"calls the user {means.account_id}", f"reads {concluded.account_id}", where)
    if means.account_label is not None and means.account_label != concluded.account_label:
        yield lie(f"shows {means.account_label}", f"reads {concluded.account_label}", "account.label")
    for name, value in means.variables.items():
        if concluded.variables.get(name) != value:
            learned = concluded.variables.get(name, "nothing")
            yield lie(f"says that {name} is {value}", f"learns {learned}", f"variables.{name}")


def _of_tokens(
    exchange: Exchange, concluded: Conclusion, lie: Callable[[str, str, str], Lie]
) -> Iterator[Lie]:
    means = exchange.means
    if concluded.access_token_right is False:
        yield lie("hands out an access token", "takes something else for it", "answer_names.access_token")
    wanted = "kept" if means.refresh_token == "none" else means.refresh_token  # noqa: S105 - a word
    if wanted is not None and concluded.refresh_token != wanted:
        hands = "hands out no refresh token" if wanted == "kept" else f"hands out a {wanted} refresh token"
        took = {"new": "takes a new one", "same": "takes the old one", "kept": "keeps the old one"}
        yield lie(
            hands,
            took.get(concluded.refresh_token or "", "takes something else for it"),
            "answer_names.refresh_token",
        )
    if means.expires_in != concluded.expires_in:
        yield lie(
            f"says that the access token lives {_seconds(means.expires_in)}",
            f"reads {_seconds(concluded.expires_in)}",
            "answer_names.expires_in (or expires_at), lifetime_unit",
        )
    if means.refresh_expires_in not in (None, concluded.refresh_expires_in):
        yield lie(
            f"says that the refresh token lives {_seconds(means.refresh_expires_in)}",
            f"reads {_seconds(concluded.refresh_expires_in)}",
            "answer_names.refresh_expires_in (or refresh_expires_at), lifetime_unit",
        )


def _of_rotation(
    definition: ProviderDefinition, exchange: Exchange, lie: Callable[[str, str, str], Lie]
) -> Iterator[Lie]:
    """A wrong rotation kills grants, so what the provider's own pages show of it must fit."""
    if exchange.grant != "refresh_token" or not exchange.documented:
        return
    shown = exchange.means.refresh_token
    if shown == "new" and definition.rotation is Rotation.NONE:
        yield lie("replaces the refresh token", 'has rotation = "none"', "rotation, replay_window")
    if shown in ("kept", "same") and definition.rotation is Rotation.SINGLE_USE:
        yield lie("lets the refresh token be", 'has rotation = "single_use"', "rotation, replay_window")


def _seconds(value: int | None) -> str:
    return "for an unknown time" if value is None else f"{value} s"


def _list(scopes: tuple[str, ...] | None) -> str:
    return ", ".join(scopes or ()) or "nothing"


def _judgement(definition: ProviderDefinition, exchange: Exchange) -> str:
    place = row_of(definition, exchange.on, exchange.answer.status, exchange.answer.body)
    return f'judgements (on = "{exchange.on}")' if place is None else f"judgements[{place}]"


def _of_outcome(definition: ProviderDefinition, exchange: Exchange, concluded: Conclusion) -> str:
    """Say where it is decided what an answer means."""
    judges_ok = definition.check is not None and definition.check.ok is not None
    if exchange.means.outcome == "alive" and judges_ok:
        return "check.ok, or " + _judgement(definition, exchange)
    if exchange.means.outcome == "tokens" and concluded.outcome == "outcome_unknown":
        return f"answer_names, token_types or answer_ok ({concluded.code})"
    if exchange.means.outcome == "account" and concluded.outcome == "outcome_unknown":
        return f"account.id ({concluded.code})"
    if exchange.on == "check" and concluded.outcome == "alive":
        return "check.ok, or " + _judgement(definition, exchange)
    if concluded.outcome == "tokens":
        return "answer_ok or error_member, or " + _judgement(definition, exchange)
    return _judgement(definition, exchange)
