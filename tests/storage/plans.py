"""The plans of whatever statements a test has executed: with the values at hand, and without any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Engine, event

#: The tables that grow with the fleet.
LARGE = frozenset({"tokens", "connections", "activity"})
_TYPES = {timedelta: "::interval", datetime: "::timestamptz"}
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class Planned:
    """How Postgres would execute a statement; `generic`: for any values, as once it is prepared."""

    statement: str
    generic: bool
    plan: dict[str, Any]

    @property
    def scans_of_large_tables(self) -> list[str]:
        """Which large tables would be read from end to end."""
        return [
            node["Relation Name"]
            for node in nodes(self.plan)
            if node["Node Type"] in {"Seq Scan", "Sample Scan"} and node["Relation Name"] in LARGE
        ]

    @property
    def large_tables(self) -> set[str]:
        """Which large tables it reads or writes."""
        return {node["Relation Name"] for node in nodes(self.plan) if "Relation Name" in node} & LARGE


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@contextmanager
def planned(engine: Engine) -> Iterator[list[Planned]]:
    """Collect the plans of everything that the engine executes meanwhile, just before it is executed."""
    found: list[Planned] = []

    def look(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.split(maxsplit=1)[0].upper() in {"SELECT", "UPDATE", "INSERT", "DELETE", "WITH"}:
            connection = cursor.connection
            given = parameters or {}
            found.append(Planned(statement, False, _plan(connection, f"(FORMAT JSON) {statement}", given)))
            any_values = f"(GENERIC_PLAN, FORMAT JSON) {_numbered(statement, given)}"
            found.append(Planned(statement, True, _plan(connection, any_values, None)))

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", look)


def _plan(
    connection: psycopg.Connection[Any], explained: str, parameters: Mapping[str, Any] | None
) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {explained}".encode(), parameters, prepare=False)
        row = cursor.fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def _numbered(statement: str, parameters: Mapping[str, Any]) -> str:
    """The statement with the server's names for parameters, of the types that the client would tell."""
    names = list(parameters)

    def numbered(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"${names.index(name) + 1}{_TYPES.get(type(parameters[name]), '')}"

    return _PLACEHOLDER.sub(numbered, statement).replace("%%", "%")
