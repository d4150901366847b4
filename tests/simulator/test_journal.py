"""The journal by itself: it stays small, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import journal as journal_module
from simulator.journal import Journal, JournalError
from simulator.memory import Event


def test_a_grown_journal_shrinks_to_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grown far beyond its snapshot it is rewritten, keeps its key, and goes on behind the snapshot."""
    monkeypatch.setattr(journal_module, "_COMPACT_AFTER_BYTES", 1000)

    def snapshot() -> Iterator[Event]:
        yield ["snapshot", "of", 1]

    path = tmp_path / "journal"
    journal = Journal(path)
    journal.compact(snapshot)
    small = path.stat().st_size
    for number in range(200):
        journal.append(["event", "number", number])
    assert path.stat().st_size > 8 * small

    journal.compact_if_grown()
    journal.append(["event", "after", 0])
    journal.compact_if_grown()
    journal.close()

    assert path.stat().st_mode & 0o777 == 0o600
    again = Journal(path)
    assert list(again.events()) == [["snapshot", "of", 1], ["event", "after", 0]]
    assert journal.key == again.key
    again.close()


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    """A line that is not JSON, with more behind it, is an error that names the line."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append(["event", "first"])
    with path.open("ab") as file:
        file.write(b"{broken\n")
    journal.append(["event", "second"])

    with pytest.raises(JournalError, match="line 3"):
        list(journal.events())
    journal.close()


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A folder in the journal's place is refused with the path."""
    with pytest.raises(JournalError, match=str(tmp_path)):
        Journal(tmp_path)
