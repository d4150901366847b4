"""A definition that lies is found, and the key that lies is named."""

from __future__ import annotations

import pytest

from domain.errors import ConfigurationError
from scripts.conformance.running import Stage
from simulator.playing.loading import built_in
from tests.conformance.mutants import Mutant, mutants
from tests.conformance.tables import NOTHING, built_in_tables, changed, definition_of

#: Each peculiar in its own way: plain; errors in HTTP 200; JSON with an id of its own; Basic and a callback's
#: company; URLs that are learned; milliseconds and tenants; client_credentials in camelCase; no refresh.
CHOSEN = ("gsc", "slack", "notion", "quickbooks", "salesforce", "atlassian", "wix-app", "wordpress")
#: Rows whose answers in the transcript the RFCs' defaults judge alike: HTTP 429 at Slack's, and 400 with a
#: code of RFC 7009 at Salesforce's.
SILENT = {
    "slack": [(on, ["ratelimited", "rate_limited"]) for on in ("check", "revoke")],
    "salesforce": [("token", "inactive_org"), ("revoke", "unsupported_token_type")],
}
TABLES = built_in_tables()
TRANSCRIPTS = built_in()


LIES = [
    pytest.param(provider_id, mutant, id=f"{provider_id}: {mutant.name}")
    for provider_id in CHOSEN
    for mutant in mutants(TABLES[provider_id], TRANSCRIPTS[provider_id])
]


@pytest.mark.parametrize(("provider_id", "mutant"), LIES)
def test_a_lie_is_found_and_its_key_is_named(stage: Stage, provider_id: str, mutant: Mutant) -> None:
    """By the transcript alone, or by the definition's own models before anything is played."""
    try:
        definition = definition_of(provider_id, mutant.table)
    except ConfigurationError:
        return
    lies = stage.played(definition, TRANSCRIPTS[provider_id])

    assert any(mutant.mend in lie.mend for lie in lies), [lie.mend for lie in lies]


@pytest.mark.parametrize("provider_id", CHOSEN)
def test_a_row_that_is_taken_out_is_missed(stage: Stage, provider_id: str) -> None:
    """Unless the RFCs' defaults say the same of its answers: then it is there for the reader alone."""
    table = TABLES[provider_id]
    silent = []
    for place, rule in enumerate(table.get("judgements", ())):
        without = definition_of(provider_id, changed(table, (f"judgements.{place}", NOTHING)))
        if not stage.played(without, TRANSCRIPTS[provider_id]):
            silent.append((rule["on"], rule.get("code")))

    assert silent == SILENT.get(provider_id, [])
