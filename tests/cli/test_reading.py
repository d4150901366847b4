"""What people read: help that looks alike everywhere, and tables that a narrow terminal does not cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.cli.conftest import Shell
from workers.cli import output

ROW = {"id": "a-host.internal:12345:interactive:0123abcd", "state": "silent", "seen_at": None, "staged": 12}
COLUMNS = ("id", "state", "seen_at", "staged")


@pytest.mark.parametrize("words", [(), ("connections",), ("keys",), ("incidents", "list")])
def test_help_looks_alike_everywhere(nowhere: Shell, words: tuple[str, ...]) -> None:
    """No command offers a completion for a program that does not exist, draws boxes, or cuts a sentence."""
    said = nowhere(*words, "--help").stdout

    assert said.startswith("Usage: ")
    assert "completion" not in said
    assert "│" not in said
    assert "..." not in said.replace("[ARGS]...", "")


@pytest.mark.parametrize(("width", "is_terminal"), [(40, True), (200, True), (40, False)])
def test_a_table_is_never_cut(monkeypatch: pytest.MonkeyPatch, width: int, is_terminal: bool) -> None:
    """Whole ids and whole cells at every width: a narrow terminal gets paragraphs that fit, a pipe a line
    for each row."""
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    monkeypatch.setattr(output, "stdout", console)
    output.write_table(COLUMNS, [ROW, {**ROW, "state": "[red]"}], empty="")
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()

    assert said.count(str(ROW["id"])) == 2
    assert "…" not in said
    assert "[red]" in said, "a cell is no markup"
    paragraphs = is_terminal and width == 40
    assert ("staged: 12" in said) == paragraphs
    assert len(said.splitlines()) == (4 if paragraphs else 3)
