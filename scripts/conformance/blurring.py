"""Says a dead refresh token's answer in other words: what then still ends the grant says too little."""

from __future__ import annotations

import json
import re
from typing import Final

from providers.definition import ProviderDefinition
from scripts.conformance.documents import at, parsed
from simulator.playing.transcript import Exchange

#: Codes that say no more than that something about a request is wrong. Providers send them for dead tokens,
#: and for a missing field, a wrong client or a rule of the user's administrator.
_GENERAL: Final = frozenset(
    {
        "access_denied",
        "bad_request",
        "error",
        "forbidden",
        "invalid_client",
        "invalid_request",
        "unauthorized",
        "unauthorized_client",
    }
)
_SENTENCE: Final = re.compile(r"\S\s+\S")


def blurred(definition: ProviderDefinition, exchange: Exchange) -> Exchange | None:
    """Return the exchange with another sentence in each place; None where its code says that it is dead.

    It must not end a grant.
    """
    if exchange.grant != "refresh_token" or exchange.means.outcome != "grant_rejected":
        return None
    document = parsed(exchange.answer.body)
    said = [at(document, path) for path in definition.error_member]
    codes = {str(code).lower() for code in said if isinstance(code, str | int)}
    other = _in_other_words(document)
    if other == document or not codes or codes - {*_GENERAL, str(exchange.answer.status), "true"}:
        return None
    told = exchange.answer.model_copy(update={"body": json.dumps(other)})
    return exchange.model_copy(update={"name": f"{exchange.name}, in other words", "answer": told})


def _in_other_words(document: object) -> object:
    if isinstance(document, dict):
        return {name: _in_other_words(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_in_other_words(value) for value in document]
    return "We regret it." if isinstance(document, str) and _SENTENCE.search(document) else document
