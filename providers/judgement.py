"""Judges an answer by provider, status and body together. No I/O, no clock, no memory.

The provider's own rules come first, in the order of its table; then RFC 6749 §5.2 and RFC 6750 §3.1; then the
status alone. What none of them recognises is `Refused`: tried again with backoff, never a death sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from domain.errors import Malformed, OutcomeUnknown, Unavailable
from domain.provider import Replay
from domain.token import Answer
from providers.answer_times import instant
from providers.answers import member, scopes, token_answer
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.refusals import Reading
from providers.vocabulary import Endpoint

#: The shortest that is looked for in a scope.
_SECRET: Final = 8


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The token is alive.

    Attributes:
        scope: What it may do, where the check tells it, else None.
        expires_at: When it expires by the provider's own clock, where the check tells it, else None.
    """

    scope: tuple[str, ...] | None = None
    expires_at: datetime | None = None


def judge_token(
    definition: ProviderDefinition,
    answer: WireAnswer,
    *,
    secrets: Iterable[str] = (),
    now: datetime | None = None,
) -> Answer:
    """Return the tokens of a token endpoint's answer to a refresh.

    Args:
        secrets: What the request carried; never part of an error's code.
        now: The caller's clock, for instants in an answer without a date; None: they are then of no use.

    Raises:
        ProviderError: The kind that says what to do next.
    """
    reading = Reading(definition, Endpoint.TOKEN, answer, secrets)
    reading.raise_refusal(
        trouble=Unavailable if definition.replay is Replay.FREELY else OutcomeUnknown, ok=definition.answer_ok
    )
    return tokens_of(definition, reading, secrets, now, refreshed=True)


def tokens_of(
    definition: ProviderDefinition,
    reading: Reading,
    secrets: Iterable[str],
    now: datetime | None,
    *,
    refreshed: bool = False,
) -> Answer:
    """Return the tokens of an answer that is a success.

    Args:
        refreshed: They replace tokens of a grant that lives.

    Raises:
        Malformed: It holds no usable tokens.
    """
    answer = reading.answer
    if answer.oversized:
        raise Malformed("answer_too_large", http_status=answer.status)
    found = token_answer(
        definition,
        reading.document,
        status=answer.status,
        headers=answer.headers,
        now=now,
        refreshed=refreshed,
    )
    return _without_echo(found, secrets)


def judge_check(
    definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()
) -> CheckResult:
    """Return what a health check says of a living token.

    Raises:
        GrantRejected: The provider does not accept the token (code ``token_rejected`` or the rule's name).
            Whether that ends the grant is not decided here.
        ProviderError: Any other kind: the check says nothing about the grant.
    """
    check = definition.check
    if check is None:
        raise AssertionError("unreachable: a check's answer of a provider without a check")
    reading = Reading(definition, Endpoint.CHECK, answer, secrets)
    reading.raise_refusal(trouble=Unavailable, ok=check.ok)
    document = reading.document
    return CheckResult(
        scope=None if check.scope_member is None else scopes(member(document, check.scope_member)),
        expires_at=None
        if check.expires_at_member is None
        else instant(member(document, check.expires_at_member)),
    )


def judge_revoke(definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()) -> None:
    """Return if the provider has revoked the token, or says so as RFC 7009 §2.2 has it of any other token.

    Raises:
        GrantRejected: It knows no living token of this kind: there is nothing to revoke any more.
        ProviderError: Any other kind: the token may still be alive.
    """
    Reading(definition, Endpoint.REVOKE, answer, secrets).raise_refusal(trouble=Unavailable)


def _without_echo(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Leave out of the scope, which is kept in the clear, whatever repeats a secret of the call."""
    if answer.scope is None:
        return answer
    issued = (answer.access_token, answer.refresh_token)
    known = [*secrets, *(token.get_secret_value() for token in issued if token is not None)]
    # Shorter than that is found in ordinary words, and is no secret of a provider's.
    known = [secret for secret in known if len(secret) >= _SECRET]
    kept = tuple(part for part in answer.scope if not any(secret in part for secret in known))
    return answer if kept == answer.scope else replace(answer, scope=kept or None)
