"""Judges an answer by provider, status and body together. No I/O, no clock, no memory.

The provider's own rules come first, in the order of its table; then RFC 6749 §5.2 and RFC 6750 §3.1; then the
status alone. What none of them recognises is `Refused`: tried again with backoff, never a death sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from domain.errors import (
    ClientMisconfigured,
    GrantRejected,
    Malformed,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from domain.provider import Replay
from domain.token import Answer
from providers.answers import instant, json_object, member, retry_after, scopes, token_answer
from providers.definition import Endpoint, Judgement, ProviderDefinition
from providers.error_codes import CODES, OUTCOMES, TROUBLE, Kind
from providers.http import WireAnswer

_BEARER_ERROR: Final = re.compile(r'\berror\s*=\s*"?([A-Za-z_]{1,64})"?')
#: An error code that is words, perhaps with a number behind: everything else a provider puts there (a
#: sentence, an identifier, a token) is not passed on.
_WORDS: Final = re.compile(r"[a-z]{1,32}(?:[_.-][a-z]{1,32}){0,7}(?:[_.-]?[0-9]{1,6})?")
#: A code that shares this many characters in a row with a secret of the call is taken for an echo of it.
_ECHO: Final = 6
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


def judge_token(definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()) -> Answer:
    """Return the tokens of a token endpoint's answer.

    Args:
        secrets: What the request carried; never part of an error's code.

    Raises:
        ProviderError: The kind that says what to do next.
    """
    document = json_object(answer.body)
    failure = _by_rule(definition, Endpoint.TOKEN, answer, document, secrets)
    if failure is not None:
        raise failure
    code = _error_code(document)
    success = 200 <= answer.status < 300
    if success and code is None:
        if answer.oversized:
            raise Malformed("answer_too_large", http_status=answer.status)
        return _without_echo(token_answer(definition, document, status=answer.status), secrets)
    kind, name = _default(Endpoint.TOKEN, code, answer.status)
    if kind is TROUBLE:
        kind = Unavailable if definition.replay is Replay.FREELY else OutcomeUnknown
    raise _failure(kind, name or _shown(code, answer.status, secrets), answer)


def judge_check(
    definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()
) -> CheckResult:
    """Return what a health check says of a living token.

    Raises:
        GrantRejected: The provider does not accept the token (code ``token_rejected`` or the rule's name).
            Whether that ends the grant is not decided here.
        ProviderError: Any other kind: the check says nothing about the grant.
    """
    document = json_object(answer.body)
    failure = _by_rule(definition, Endpoint.CHECK, answer, document, secrets)
    if failure is not None:
        raise failure
    code = _error_code(document)
    if 200 <= answer.status < 300 and code is None:
        return _alive(definition, answer, document)
    code = code or _bearer_error(answer.headers)
    kind, name = _default(Endpoint.CHECK, code, answer.status)
    if kind is GrantRejected:
        name = "token_rejected"
    raise _failure(kind or Unavailable, name or _shown(code, answer.status, secrets), answer)


def judge_revoke(definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()) -> None:
    """Return if the provider has revoked the token, or says so as RFC 7009 §2.2 has it of any other token.

    Raises:
        GrantRejected: It knows no living token of this kind: there is nothing to revoke any more.
        ProviderError: Any other kind: the token may still be alive.
    """
    document = json_object(answer.body)
    failure = _by_rule(definition, Endpoint.REVOKE, answer, document, secrets)
    if failure is not None:
        raise failure
    code = _error_code(document)
    if 200 <= answer.status < 300 and code is None:
        return
    kind, name = _default(Endpoint.REVOKE, code, answer.status)
    raise _failure(kind or Unavailable, name or _shown(code, answer.status, secrets), answer)


def _alive(
    definition: ProviderDefinition, answer: WireAnswer, document: dict[str, Any] | None
) -> CheckResult:
    check = definition.check
    if check is None:
        raise AssertionError("unreachable: a check's answer of a provider without a check")
    if check.ok is not None:
        found = member(document, check.ok.member)
        if found is None:
            raise Malformed(
                "answer_too_large" if answer.oversized else "answer_invalid", http_status=answer.status
            )
        # 1 == True in Python, and not in JSON.
        if type(found) is not type(check.ok.equals) or found != check.ok.equals:
            raise GrantRejected("token_rejected", http_status=answer.status)
    return CheckResult(
        scope=None if check.scope_member is None else scopes(member(document, check.scope_member)),
        expires_at=None
        if check.expires_at_member is None
        else instant(member(document, check.expires_at_member)),
    )


def _by_rule(
    definition: ProviderDefinition,
    endpoint: Endpoint,
    answer: WireAnswer,
    document: dict[str, Any] | None,
    secrets: Iterable[str],
) -> ProviderError | None:
    for rule in definition.rules[endpoint]:
        if rule.status is not None and rule.status != answer.status:
            continue
        found = _text(member(document, rule.member))
        if rule.code is not None and found not in rule.code:
            continue
        return _failure(OUTCOMES[rule.outcome], _rule_name(rule, found, answer.status, secrets), answer)
    return None


def _rule_name(rule: Judgement, found: str | None, status: int, secrets: Iterable[str]) -> str:
    return rule.name or _shown(None if found is None else found.lower(), status, secrets)


def _default(endpoint: Endpoint, code: str | None, status: int) -> tuple[Kind, str | None]:
    """Judge by the RFCs' codes, else by the status; the second is the code to show, None for the provider's.

    A server in trouble, or one that is counting our requests, is believed about nothing else.
    """
    codes = CODES[endpoint]
    if code is not None and code in codes and status < 500 and status != 429:
        return codes[code], code
    return _by_status(endpoint, status)


def _by_status(endpoint: Endpoint, status: int) -> tuple[Kind, str | None]:
    match status:
        case 401 if endpoint is Endpoint.CHECK:
            return GrantRejected, None
        case 401 if endpoint is Endpoint.REVOKE:
            return ClientMisconfigured, None
        case 404 | 405 | 410:
            return ClientMisconfigured, "endpoint_gone"
        case 408:
            return TROUBLE, None
        case 429:
            return RateLimited, "rate_limited"
        case 503:
            return Unavailable, "unavailable"
        case _ if 300 <= status < 400:
            return ClientMisconfigured, "endpoint_moved"
        case _ if status >= 500:
            return TROUBLE, f"http_{status}"
        case _ if status < 200:
            return Malformed, None
        case _:
            return Refused, None


def _failure(kind: type[ProviderError], code: str, answer: WireAnswer) -> ProviderError:
    return kind(code, http_status=answer.status, retry_after=retry_after(answer.headers))


def _error_code(document: dict[str, Any] | None) -> str | None:
    """Return RFC 6749 §5.2's `error` in lower case, None where the answer carries no error.

    Some answers describe the error in an object: then it counts as an error without a code.
    """
    error = None if document is None else document.get("error")
    if not error:
        return None
    return error.lower() if isinstance(error, str) else ""


def _bearer_error(headers: Mapping[str, str]) -> str | None:
    found = _BEARER_ERROR.search(headers.get("www-authenticate", ""))
    return None if found is None else found.group(1).lower()


def _text(value: object) -> str | None:
    """Write a code as rules name it; a list, an object or a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def _shown(code: str | None, status: int, secrets: Iterable[str]) -> str:
    """Return the provider's own code where it is safe to show, else one made of the status."""
    if code and _WORDS.fullmatch(code) and len(code) <= 64 and not _echoes(code, secrets):
        return code
    return f"http_{status}"


def _without_echo(answer: Answer, secrets: Iterable[str]) -> Answer:
    """Leave out of the scope, which is kept in the clear, whatever repeats a secret of the call."""
    if answer.scope is None:
        return answer
    issued = (answer.access_token, answer.refresh_token)
    known = [*secrets, *(token.get_secret_value() for token in issued if token is not None)]
    # Shorter than that is found in ordinary words, and is no secret of a provider's.
    known = [secret for secret in known if len(secret) >= _SECRET]
    kept = tuple(part for part in answer.scope if not any(secret in part for secret in known))
    return replace(answer, scope=kept or None)


def _echoes(code: str, secrets: Iterable[str]) -> bool:
    size = min(len(code), _ECHO)
    pieces = {code[start : start + size] for start in range(len(code) - size + 1)}
    return any(
        secret.lower() in code or any(piece in secret.lower() for piece in pieces)
        for secret in secrets
        if secret
    )
