"""JSON documents by dotted paths: what stands at one, and a document in which something does.

Written a second time on purpose: what the product reads by its own code is compared with this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


class Contradiction(ValueError):
    """No document can hold all that is looked for in it."""


def at(document: object, path: str) -> object:
    """Return what a dotted path leads to, None for nowhere; a number is a place in a list."""
    for part in path.split("."):
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def parsed(body: str) -> object:
    """Return the JSON that a body holds, None where it holds none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def document_of(members: Iterable[tuple[str, object]]) -> dict[str, Any]:
    """Return the smallest document in which each path leads to its value.

    Raises:
        Contradiction: No document is like that: one of the paths leads through another one's value.
    """
    whole: dict[str, Any] = {}
    for path, value in members:
        whole = _with(whole, path.split("."), value)
        if not isinstance(whole, dict):
            raise Contradiction(f"{path}: begins with a number, and an answer is an object")
    return whole


def _with(under: Any, parts: list[str], value: object) -> Any:  # noqa: ANN401 - JSON
    """Return `under` with the value put where the parts lead; None is room for anything."""
    if not parts:
        if under is not None and under != value:
            raise Contradiction("two values at one place")
        return value
    part, rest = parts[0], parts[1:]
    if part.isdecimal() and not isinstance(under, dict):
        if not isinstance(under, list | None):
            raise Contradiction(f"{part}: leads through a value")
        items = list(under or [])
        items += [None] * (int(part) + 1 - len(items))
        items[int(part)] = _with(items[int(part)], rest, value)
        return [{} if item is None else item for item in items]
    if not isinstance(under, dict | None):
        raise Contradiction(f"{part}: leads through a value")
    return {**(under or {}), part: _with((under or {}).get(part), rest, value)}
