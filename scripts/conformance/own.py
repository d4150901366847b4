"""What can be tried of a definition without a transcript: its own requests, and answers that it must know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from providers.definition import ProviderDefinition
from scripts.conformance.answering import account_answer, account_id
from scripts.conformance.documents import document_of
from scripts.conformance.making import error, exchange, grant_of, has, limits, refusal
from scripts.conformance.own_tokens import token_cases, tokens
from scripts.conformance.rows import UNHEARD_OF, answers_to, row_of
from simulator.playing.transcript import Exchange, Grant, Means, Told

_REVOKE_ERRORS: Final = (
    (401, "invalid_client", "client_misconfigured"),
    (400, "temporarily_unavailable", "transient"),
    (503, None, "transient"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the judgement table, and answers that it is for: one of them must come out as it says.

    Attributes:
        exchanges: Empty where the definition has no request to the endpoint that the row is about.
    """

    key: str
    exchanges: tuple[Exchange, ...]


def cases(definition: ProviderDefinition) -> Iterator[Exchange]:
    """Yield everything there is to try but the judgement table's rows.

    Raises:
        Contradiction: The definition looks for two things at one place of an answer; says where.
    """
    yield from token_cases(definition)
    if definition.check is not None:
        yield from _checks(definition)
    if definition.revocation_url is not None:
        yield from _revocations(definition)
    if definition.device_url is not None:
        yield from _devices(definition)
    if has(definition, "account"):
        means = Means(outcome="account", account_id=account_id(definition))
        yield exchange(definition, "asking for the account", "account", account_answer(definition), means)
        yield from limits(definition, "account")


def _checks(definition: ProviderDefinition) -> Iterator[Exchange]:
    ok = None if definition.check is None else definition.check.ok
    said = {} if ok is None else document_of([(ok.member, ok.equals)])
    alive, means = Told(status=200, body=json.dumps(said)), Means(outcome="alive")
    yield exchange(definition, "a check of a living token", "check", alive, means)
    expired = {"www-authenticate": 'Bearer error="invalid_token", error_description="It expired"'}
    narrow = {"www-authenticate": 'Bearer error="insufficient_scope"'}
    refusals = (
        ("a check of a dead token", Told(status=401), "grant_rejected"),
        ("a check of an expired token", Told(status=401, headers=expired), "grant_rejected"),
        ("a check of a narrow token", Told(status=403, headers=narrow), "insufficient_scope"),
        ("a check in trouble", Told(status=503), "transient"),
        ("a check's unknown error", error(definition, 400, UNHEARD_OF), "refused"),
        ("a check's unknown refusal", error(definition, 403, UNHEARD_OF), "refused"),
    )
    for name, told, outcome in refusals:
        yield from refusal(definition, name, "check", told, outcome)
    yield from limits(definition, "check")


def _revocations(definition: ProviderDefinition) -> Iterator[Exchange]:
    if row_of(definition, "revoke", 200, "") is None:
        yield exchange(definition, "revoking", "revoke", Told(status=200), Means(outcome="revoked"))
    for status, code, outcome in _REVOKE_ERRORS:
        name, told = f"revoking: HTTP {status} {code or 'alone'}", error(definition, status, code)
        yield from refusal(definition, name, "revoke", told, outcome)
    yield from limits(definition, "revoke")


def _devices(definition: ProviderDefinition) -> Iterator[Exchange]:
    """RFC 8628 §3.2 and §3.5."""
    shown = {
        "device_code": "made-up",
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://made-up.example/device",
        "expires_in": 900,
    }
    told = Told(status=200, body=json.dumps(shown))
    yield exchange(definition, "asking for a device's code", "device", told, Means(outcome="device"))
    answers = (
        ("authorization_pending", "pending"),
        ("slow_down", "pending"),
        ("access_denied", "grant_rejected"),
        ("expired_token", "grant_rejected"),
    )
    for code, outcome in answers:
        told = error(definition, 400, code)
        yield from refusal(definition, f"polling: {code}", "token", told, outcome, grant="device_code")
    yield tokens(definition, "polling: tokens", "device_code", refresh_token=True)


def rows(definition: ProviderDefinition) -> Iterator[Row]:
    """Yield each row of the judgement table once for each of its codes.

    Raises:
        Contradiction: No answer can be one that a row is for.
    """
    for place, rule in enumerate(definition.judgements):
        grant: Grant | None = None
        if rule.on == "token":
            grant = grant_of(definition) or "authorization_code"
        for code in rule.code or (None,):
            means = Means.model_validate({"outcome": rule.outcome.value, "code": rule.name})
            name = f"row {place + 1}: {rule.on} {rule.status or 'any status'} {code or 'any code'}"
            told = answers_to(rule, code)
            exchanges = (exchange(definition, name, rule.on.value, one, means, grant=grant) for one in told)
            yield Row(f"judgements[{place}]", tuple(exchanges) if has(definition, rule.on.value) else ())
