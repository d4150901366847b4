"""A replay window that no page shows is a lie: counting on it ends grants."""

from __future__ import annotations

import pytest

from scripts.conformance.windows import too_long
from simulator.playing.loading import built_in
from tests.conformance.tables import Table, built_in_tables, changed, definition_of

TABLES = built_in_tables()
TRANSCRIPTS = built_in()
WITHOUT = [name for name, table in TABLES.items() if table.get("replay_window") == 0]
WITH = [name for name, table in TABLES.items() if isinstance(table.get("replay_window"), int | str)]


def found(provider_id: str, table: Table) -> list[str]:
    lies = too_long(definition_of(provider_id, table), TRANSCRIPTS[provider_id])
    return [f"{lie.mend}: {lie.definition}" for lie in lies]


@pytest.mark.parametrize("window", [60, 3600, "until_successor_used", "unlimited"])
@pytest.mark.parametrize("provider_id", WITHOUT)
def test_no_definition_may_count_on_a_window_that_is_not_shown(provider_id: str, window: int | str) -> None:
    words = window if isinstance(window, str) else f"{window} s"

    assert found(provider_id, changed(TABLES[provider_id], ("replay_window", window))) == [
        f"replay_window: counts on {words}"
    ]


@pytest.mark.parametrize("provider_id", WITH)
def test_the_built_in_windows_are_shown(provider_id: str) -> None:
    assert found(provider_id, TABLES[provider_id]) == []


@pytest.mark.parametrize(
    ("provider_id", "window", "lies"),
    [
        ("atlassian", 601, True),
        ("atlassian", 599, False),
        ("atlassian", "until_successor_used", True),
        ("shopify", "unlimited", True),
        ("shopify", 2592000, False),
        ("microsoft", "until_successor_used", False),
    ],
)
def test_a_window_may_be_shorter_than_the_page_has_it(
    provider_id: str, window: int | str, lies: bool
) -> None:
    assert bool(found(provider_id, changed(TABLES[provider_id], ("replay_window", window)))) is lies
