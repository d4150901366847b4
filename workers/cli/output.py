"""How commands speak: JSON alone on standard output when asked for, tables for people, words on error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: The option that every listing command takes.
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON array alone on standard output.")]

#: A pipe has no width; tables then get what they need.
WIDE: Final = 250

stdout = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
stderr = Console(stderr=True, highlight=False)


def plain(value: object) -> object:
    """Return a value as JSON can say it: instants in ISO 8601, ids and words as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return str(value)


def write_json(rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON array, a row a line, without holding the rows in memory."""
    out = sys.stdout
    out.write("[")
    separator = "\n"
    for row in rows:
        out.write(separator + json.dumps(plain(row), ensure_ascii=False))
        separator = ",\n"
    out.write("\n]\n" if separator != "\n" else "]\n")
    out.flush()


def write_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, empty: str) -> None:
    """Write a table of the named columns; `empty` is said where there is no row.

    Nothing is ever cut: ids are for copying. Where the terminal is too narrow, each row becomes a paragraph
    that begins with its first column.
    """
    headings = [column.upper().replace("_", " ") for column in columns]
    lines = [[for_people(row.get(column)) for column in columns] for row in rows]
    if not lines:
        stderr.print(empty)
        return
    widths = [max(map(cell_len, cells)) for cells in zip(headings, *lines, strict=True)]
    if stdout.is_terminal and sum(widths) + 2 * len(widths) > stdout.width:
        for line in lines:
            _write_paragraph(headings, line)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, no_wrap=True, min_width=width)
    for line in lines:
        # Text, because a user's id may look like markup.
        table.add_row(*map(Text, line))
    stdout.print(table, width=max(stdout.width, sum(widths) + 2 * len(widths)), soft_wrap=True)


def _write_paragraph(headings: Sequence[str], cells: Sequence[str]) -> None:
    """Write a row over as many lines as it takes; a column is broken only where it fills a line alone."""
    stdout.print(cells[0], style="bold", markup=False, soft_wrap=True)
    line = ""
    for heading, cell in zip(headings[1:], cells[1:], strict=True):
        piece = f"  {heading.lower()}: {cell}"
        if line and cell_len(line + piece) > stdout.width:
            stdout.print(line, markup=False, soft_wrap=True)
            line = ""
        line += piece
    stdout.print(line, markup=False, soft_wrap=True)


def for_people(value: object) -> str:
    """Return a value as a cell: instants to the second in UTC, nothing as a dash."""
    match value:
        case None | "":
            return "-"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(str(item) for item in value) or "-"
        case _:
            return str(value)
