"""The judgement table's rows: which of them an answer is for, and answers that are for one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from providers.definition import Judgement, ProviderDefinition
from scripts.conformance.documents import at, document_of, parsed
from simulator.playing.transcript import Told

#: Tried in turn for a row that names none. At 429 and 5xx a row that ends grants is for no answer, and what
#: it shadows everywhere else would look alive there.
_STATUSES = (400, 401, 403, 422, 200)
#: Whose rows count for an answer: an account is asked for where checks ask, a device where tokens come from.
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("token",),
    "check": ("check",),
    "revoke": ("revoke",),
    "account": ("account", "check"),
    "device": ("device", "token"),
}
#: A code that no provider has.
UNHEARD_OF = "evergrant_unheard_of"


def row_of(definition: ProviderDefinition, endpoint: str, status: int, body: str) -> int | None:
    """Return the place of the first row that is for this answer, None where none is.

    Written from docs/providers.md, apart from the product's judgement.
    """
    document = parsed(body)
    for kind in _KINDS[endpoint]:
        for place, rule in enumerate(definition.judgements):
            if rule.on == kind and _is_for(rule, status, document):
                return place
    return None


def _is_for(rule: Judgement, status: int, document: object) -> bool:
    if rule.status not in (None, status):
        return False
    # A server in trouble, or one that counts requests, ends no grant by a code alone.
    if rule.status is None and rule.outcome.value == "grant_rejected" and (status >= 500 or status == 429):
        return False
    if rule.code is not None and _text(at(document, rule.member)) not in rule.code:
        return False
    if rule.where is None:
        return True
    said = _text(at(document, rule.where.member))
    return said is not None and rule.where.contains.lower() in said.lower()


def _text(value: object) -> str | None:
    """Codes are words and numbers; true is neither."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def answers_to(rule: Judgement, code: str | None) -> Iterator[Told]:
    """Yield answers that a row is for.

    Args:
        code: One of the row's; None for a row without.

    Raises:
        Contradiction: No answer can be one.
    """
    values: list[object] = [code]
    if code is not None and code.isdecimal():
        values.insert(0, int(code))
    for status in _STATUSES if rule.status is None else (rule.status,):
        for value in values:
            members = [] if value is None else [(rule.member, value)]
            if rule.where is not None:
                members.append((rule.where.member, f"We regret: {rule.where.contains.upper()}."))
            yield Told(status=max(status, 200), body=json.dumps(document_of(members)))
