"""A definition is played on loopback, and no call of a run leaves for a real provider."""

from __future__ import annotations

from typing import Any

import pytest

from providers.catalogue import load
from providers.definition import ProviderDefinition
from scripts.conformance import moving
from scripts.conformance.running import LeftTheStage, Stage

#: Where browsers and people go; no call of ours.
NEVER_CALLED = {"authorize_url", "manage_url"}
BASE = "http://127.0.0.1:4711"


def urls(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Every URL of a dumped definition, with its key."""
    if isinstance(value, dict):
        return [found for name, under in value.items() for found in urls(under, f"{key}.{name}".strip("."))]
    is_url = key.rpartition(".")[2].endswith("url") and not key.startswith("unconfirmed.")
    return [(key, value)] if isinstance(value, str) and is_url else []


@pytest.mark.parametrize("definition", load(), ids=lambda one: one.id)
def test_every_url_that_is_called_is_moved_and_nothing_else_is(definition: ProviderDefinition) -> None:
    before, after = definition.model_dump(), moving.moved(definition, BASE).model_dump()

    for key, url in urls(after):
        real = dict(urls(before))[key]
        assert url == (real if key in NEVER_CALLED else real.replace("https:/", BASE, 1))
    for key in (*moving.ENDPOINTS, *moving.TABLES):
        before.pop(key)
        after.pop(key)
    assert after == before


def test_a_call_that_is_not_moved_never_leaves(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the language gains and `moving` does not know ends the run."""
    monkeypatch.setattr(moving, "ENDPOINTS", ())

    with pytest.raises(LeftTheStage, match=r"oauth2\.googleapis\.com"):
        stage.tried(load().get("gsc"))
