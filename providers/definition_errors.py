"""Turns a table into a definition, or into an error that names file, key, reason and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain.errors import ConfigurationError
from providers.definition import ProviderDefinition
from providers.definition_tables import (
    Account,
    Check,
    FromAnswer,
    GrantLimit,
    Judgement,
    Ok,
    Revoke,
    Variable,
    Where,
)
from providers.events.tables import EVENT_TABLES

_TABLES: Mapping[str, type[BaseModel]] = {
    "account": Account,
    "answer_ok": Ok,
    "check": Check,
    "from_answer": FromAnswer,
    "grant_limit": GrantLimit,
    "judgements": Judgement,
    "ok": Ok,
    "revoke": Revoke,
    "variables": Variable,
    "where": Where,
}
_EVENT_KINDS = ("security_event_token", "webhook")


def define(provider_id: str, table: Mapping[str, Any], *, source: str) -> ProviderDefinition:
    """Return the definition of one provider.

    Args:
        table: What TOML says under ``[providers.<provider_id>]``.
        source: The file, as errors should name it.

    Raises:
        ConfigurationError: One line for each problem of the table, all of them at once.
    """
    lines = []
    if "id" in table:
        lines.append(f"{source}: [providers.{provider_id}] id: unknown key; the table's name is the id")
    try:
        # The JSON way in lets strict models take a list for a tuple and a word for an enumeration, which is
        # all that TOML can write, and still refuses "1" for 1. Dates, which JSON has not, become text.
        return _raise_or(lines, ProviderDefinition.model_validate_json(_as_json(provider_id, table)))
    except ValidationError as error:
        problems = [problem for details in error.errors(include_url=False) for problem in _problems(details)]
        lines.extend(f"{source}: [providers.{provider_id}] {key}: {reason}" for key, reason in problems)
    raise ConfigurationError("\n".join(lines))


def _raise_or(lines: list[str], definition: ProviderDefinition) -> ProviderDefinition:
    if lines:
        raise ConfigurationError("\n".join(lines))
    return definition


def _as_json(provider_id: str, table: Mapping[str, Any]) -> str:
    return json.dumps({**table, "id": provider_id}, default=str)


def _problems(details: ErrorDetails) -> Iterator[tuple[str, str]]:
    location = details["loc"]
    if details["type"] == "contradiction":
        yield from details["ctx"]["problems"]
        return
    key = _key(location)
    match details["type"]:
        case "union_tag_not_found" | "union_tag_invalid":
            yield f"{key}.kind", f"must be one of {', '.join(map(repr, _EVENT_KINDS))}"
        case "extra_forbidden":
            yield key, _unknown_key(location)
        case "missing":
            yield key, "is required; add it"
        case "value_error":
            yield key, str(details["ctx"]["error"])
        case "enum" | "literal_error":
            yield key, f"must be {details['ctx']['expected']}, not {details['input']!r}"
        case "string_pattern_mismatch" if key == "id":
            yield key, "must be lower-case letters, digits and dashes, starting with a letter or digit"
        case _:
            # pydantic's texts say what is expected and never quote the input, which might be a secret that
            # was put into the wrong file.
            yield key, details["msg"].replace("Input should be", "must be").replace("an object", "a table")


def _key(location: tuple[int | str, ...]) -> str:
    """Write ("judgements", 1, "status") as judgements[1].status; the kind of events is no part of a key."""
    text = ""
    for place, part in enumerate(location):
        if place == 1 and location[0] == "events" and part in _EVENT_KINDS:
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def _unknown_key(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = ProviderDefinition
    tables = {**_TABLES, **EVENT_TABLES} if location[0] == "events" else _TABLES
    for part in location[:-1]:
        model = tables.get(str(part), model)
    known = sorted({field.alias or name for name, field in model.model_fields.items()})
    if model is ProviderDefinition:
        known.remove("id")
    close = get_close_matches(str(location[-1]), known, n=1)
    return (
        f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known are {', '.join(known)}"
    )
