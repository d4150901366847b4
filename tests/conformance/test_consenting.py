"""Where users are sent to agree, and with what, is held to the provider's pages too."""

from __future__ import annotations

import pytest

from scripts.conformance.consenting import astray
from scripts.conformance.coverage import gaps
from simulator.playing.loading import built_in
from tests.conformance.tables import NOTHING, Table, built_in_tables, changed, definition_of

TABLES = built_in_tables()
TRANSCRIPTS = built_in()
SHOWN = [name for name, transcript in TRANSCRIPTS.items() if transcript.authorize is not None]
INSISTED = [
    (name, parameter)
    for name, transcript in TRANSCRIPTS.items()
    for parameter in (transcript.authorize.query if transcript.authorize is not None else ())
    if parameter in TABLES[name].get("authorize_params", {})
]


def keys(provider_id: str, table: Table) -> list[str]:
    consent = TRANSCRIPTS[provider_id].authorize
    assert consent is not None
    return [lie.mend for lie in astray(definition_of(provider_id, table), consent)]


@pytest.mark.parametrize("provider_id", SHOWN)
def test_another_address_is_a_lie(provider_id: str) -> None:
    table = TABLES[provider_id]

    assert keys(provider_id, table) == []
    assert keys(provider_id, changed(table, ("authorize_url", table["authorize_url"] + "-v0"))) == [
        "authorize_url"
    ]


@pytest.mark.parametrize(("provider_id", "parameter"), INSISTED)
def test_a_parameter_that_is_left_out_or_changed_is_a_lie(provider_id: str, parameter: str) -> None:
    """Without access_type = "offline" nobody gets a refresh token, and nobody notices for an hour."""
    path = f"authorize_params.{parameter}"

    for other in (NOTHING, "misspelt"):
        assert keys(provider_id, changed(TABLES[provider_id], (path, other))) == [path]


def test_a_name_of_the_providers_own_is_a_lie_where_it_is_missing() -> None:
    assert keys("tiktok", changed(TABLES["tiktok"], ("authorize_names", NOTHING))) == [
        "authorize_names.client_id"
    ]


def test_a_transcript_without_it_has_a_gap_where_the_definition_asks_for_more() -> None:
    definition, transcript = definition_of("gsc", TABLES["gsc"]), TRANSCRIPTS["gsc"]
    without = transcript.model_copy(update={"authorize": None})

    assert "an authorization request" in list(gaps(definition, without))
    assert "an authorization request" not in list(gaps(definition, transcript))
