"""What is built in conforms to what the providers' own pages show."""

from __future__ import annotations

import pytest

from providers.catalogue import load
from scripts.conformance.running import Stage
from simulator.playing.loading import built_in

CATALOGUE = load()
TRANSCRIPTS = built_in()


@pytest.mark.parametrize("provider_id", CATALOGUE.ids)
def test_a_built_in_definition_says_of_its_provider_what_is_so(stage: Stage, provider_id: str) -> None:
    """Neither its transcript nor its own cases find it otherwise."""
    report = stage.report(CATALOGUE.get(provider_id), TRANSCRIPTS.get(provider_id))

    assert report.lies == []
    assert report.own > 0


def test_every_built_in_definition_has_a_transcript_and_every_transcript_a_definition() -> None:
    assert set(TRANSCRIPTS) == set(CATALOGUE.ids)


@pytest.mark.parametrize("provider_id", CATALOGUE.ids)
def test_a_transcript_shows_all_that_its_definition_speaks_of(stage: Stage, provider_id: str) -> None:
    """Connecting, refreshing, death, a wrong client, a limit, checks, revoking, account, each row."""
    report = stage.report(CATALOGUE.get(provider_id), TRANSCRIPTS.get(provider_id))

    assert report.has_transcript
    assert report.gaps == []
