"""Whatever a provider says that no rule knows, nobody dies of it at first sight."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import GrantRejected, ProviderError
from providers.catalogue import load
from providers.definition import ProviderDefinition
from providers.http import WireAnswer
from providers.judgement import judge_check, judge_revoke, judge_token
from providers.vocabulary import Endpoint, Outcome
from tests.providers.making import acme

CATALOGUE = load()
#: RFC 6749 §5.2 for tokens; for the others a verdict ends nothing by itself.
DEADLY = {Endpoint.TOKEN: {"invalid_grant"}, Endpoint.CHECK: {"invalid_token"}}
JUDGES: dict[Endpoint, Callable[..., Any]] = {
    Endpoint.TOKEN: judge_token,
    Endpoint.CHECK: judge_check,
    Endpoint.REVOKE: judge_revoke,
}
WORDS = st.sampled_from(
    ["error", "code", "message", "status", "errors", "reason", "ok", "data", "error_description", "detail"]
)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["expired", "revoked", "token expired", "invalid", "unauthorized", "dead", "not_found", "invalid_request"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
BODIES = st.dictionaries(WORDS, JSON, max_size=5).map(lambda said: json.dumps(said).encode())
ANSWERS = st.builds(
    WireAnswer,
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["www-authenticate", "retry-after", "date"]), TEXTS, max_size=2),
    BODIES | st.binary(max_size=50),
    st.booleans(),
)


def texts_in(value: object) -> set[str]:
    """Every text and number in a body, as rules compare them."""
    if isinstance(value, dict):
        return set().union(*map(texts_in, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(texts_in, value)) if value else set()
    return {str(value).lower()}


def deadly_codes(definition: ProviderDefinition, endpoint: Endpoint) -> set[str]:
    """The codes that end a grant, by the RFC or by a rule of the provider's."""
    rules = (rule for rule in definition.rules[endpoint] if rule.outcome is Outcome.GRANT_REJECTED)
    return DEADLY.get(endpoint, set()) | {code.lower() for rule in rules for code in rule.code or ()}


def deadly_descriptions(definition: ProviderDefinition) -> set[str]:
    """The texts that end a grant without a code, by a rule of the provider's."""
    rules = (rule for rule in definition.rules[Endpoint.TOKEN] if rule.outcome is Outcome.GRANT_REJECTED)
    return {rule.where.contains.lower() for rule in rules if rule.where is not None and not rule.code}


def outcome(definition: ProviderDefinition, endpoint: Endpoint, answer: WireAnswer) -> ProviderError | None:
    try:
        JUDGES[endpoint](definition, answer)
    except ProviderError as error:
        return error
    return None


@settings(max_examples=500, deadline=None)
@given(definition=st.sampled_from([acme(), *CATALOGUE]), answer=ANSWERS)
def test_no_token_answer_kills_that_says_no_deadly_code(
    definition: ProviderDefinition, answer: WireAnswer
) -> None:
    """Every other answer, of any status and body, is tried again: refused, in doubt, or trouble."""
    found = outcome(definition, Endpoint.TOKEN, answer)

    if isinstance(found, GrantRejected):
        said = texts_in(json.loads(answer.body))
        described = any(part in text for part in deadly_descriptions(definition) for text in said)
        assert described or said & deadly_codes(definition, Endpoint.TOKEN), answer.body


@pytest.mark.parametrize("endpoint", [Endpoint.CHECK, Endpoint.REVOKE])
@settings(deadline=None)
@given(answer=ANSWERS)
def test_every_answer_of_the_other_endpoints_is_one_of_ours(endpoint: Endpoint, answer: WireAnswer) -> None:
    """No answer breaks the judgement, and only 401 or a known code calls a token dead."""
    found = outcome(acme(), endpoint, answer)

    if isinstance(found, GrantRejected):
        known = {"invalid_token", "invalid_grant"} & texts_in(_parsed(answer.body))
        in_header = "invalid_token" in answer.headers.get("www-authenticate", "").lower()
        assert known or in_header or answer.status == 401


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


@pytest.mark.parametrize("definition", list(CATALOGUE), ids=lambda definition: definition.id)
def test_no_rule_of_a_built_in_provider_kills_by_status_alone(definition: ProviderDefinition) -> None:
    for rule in definition.rules[Endpoint.TOKEN]:
        assert rule.outcome is not Outcome.GRANT_REJECTED or rule.code or rule.where


@pytest.mark.parametrize("endpoint", list(JUDGES), ids=str)
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_ends_no_grant_by_a_code_alone(endpoint: Endpoint, status: int) -> None:
    """A rule that names the status too may: then a page says that the two belong together."""
    rule = {"on": endpoint.value, "code": "dead_token", "outcome": "grant_rejected"}
    said = WireAnswer(status, {}, b'{"error": "dead_token"}')

    with pytest.raises(ProviderError) as found:
        JUDGES[endpoint](acme(revoke_url="https://acme.example/revoke", judgements=[rule]), said)
    assert not isinstance(found.value, GrantRejected)
    with pytest.raises(GrantRejected):
        JUDGES[endpoint](
            acme(revoke_url="https://acme.example/revoke", judgements=[{**rule, "status": status}]), said
        )
