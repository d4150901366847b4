"""The table of the reliability page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chaos import table


def test_the_table_replaces_what_stood_between_the_markers(tmp_path: Path) -> None:
    """What is before and after the markers stays, however often it is written."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    for text in ("first", "second"):
        table.insert(page, text)
    assert page.read_text(encoding="utf-8") == f"before\n{table.BEGIN}\n\nsecond\n\n{table.END}\nafter\n"


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a page that does not say where."""
    page = tmp_path / "page.md"
    page.write_text("no markers\n", encoding="utf-8")
    with pytest.raises(ValueError, match="chaos: begin"):
        table.insert(page, "text")
