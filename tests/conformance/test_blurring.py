"""A general code ends a grant only together with the sentence that a page shows beside it."""

from __future__ import annotations

import pytest

from scripts.conformance.blurring import blurred
from scripts.conformance.running import Stage
from simulator.playing.loading import built_in
from tests.conformance.tables import NOTHING, built_in_tables, changed, definition_of

TABLES = built_in_tables()
TRANSCRIPTS = built_in()
#: Rows that end grants by a general code and a sentence.
ROWS = [
    (name, place)
    for name, table in sorted(TABLES.items())
    for place, rule in enumerate(table.get("judgements", ()))
    if rule["on"] == "token" and rule["outcome"] == "grant_rejected"
    and rule.get("code") == "invalid_request" and "where" in rule
]  # fmt: skip


@pytest.mark.parametrize(("provider_id", "place"), ROWS)
def test_a_row_that_has_lost_its_sentence_is_found(stage: Stage, provider_id: str, place: int) -> None:
    table = changed(TABLES[provider_id], (f"judgements.{place}.where", NOTHING))
    lies = stage.played(definition_of(provider_id, table), TRANSCRIPTS[provider_id])

    assert any(lie.mend == f"judgements[{place}]: add where" for lie in lies), lies


def test_there_are_such_rows() -> None:
    assert {"bitbucket", "discord", "linkedin", "x", "zoom"} <= {name for name, _ in ROWS}


def test_a_code_that_says_enough_needs_no_sentence() -> None:
    """invalid_grant is a dead grant in whatever words."""
    definition = definition_of("airtable", TABLES["airtable"])

    assert all(blurred(definition, one) is None for one in TRANSCRIPTS["airtable"].exchange)
