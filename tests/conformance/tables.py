"""Built-in definitions as tables, and tables changed into lies."""

from __future__ import annotations

import copy
import tomllib
from importlib import resources
from typing import Any, Final

from providers.definition import ProviderDefinition
from providers.definition_errors import define

Table = dict[str, Any]
#: Takes a key away.
NOTHING: Final = object()


def built_in_tables() -> dict[str, Table]:
    """Every built-in table by its id."""
    found: dict[str, Table] = {}
    for entry in resources.files("providers.builtin").iterdir():
        if entry.name.endswith(".toml"):
            found |= tomllib.loads(entry.read_text("utf-8")).get("providers", {})
    return found


def changed(table: Table, *changes: tuple[str, object]) -> Table:
    """A copy in which the value at each dotted path is another one, or gone."""
    whole = copy.deepcopy(table)
    for path, value in changes:
        *parents, last = path.split(".")
        under: Any = whole
        for part in parents:
            under = under[int(part)] if isinstance(under, list) else under.setdefault(part, {})
        if value is NOTHING:
            del under[int(last) if isinstance(under, list) else last]
        else:
            under[int(last) if isinstance(under, list) else last] = value
    return whole


def definition_of(provider_id: str, table: Table) -> ProviderDefinition:
    return define(provider_id, table, source="mutant.toml")


PLAIN: Table = {
    "display_name": "Acme",
    "grant": "refresh_token",
    "authorize_url": "https://{site}.acme.example/authorize",
    "token_url": "https://{site}.acme.example/token",
    "revoke_url": "https://{site}.acme.example/revoke",
    "scopes": ["read", "write"],
    "rotation": "single_use",
    "replay_window": 0,
    "variables": {"site": {"pattern": "[a-z]{1,20}", "help": "the site's name", "example": "rose"}},
    "check": {"url": "https://{site}.acme.example/userinfo"},
    "account": {"from": "request", "url": "https://{site}.acme.example/userinfo", "id": "data.0.id"},
}


def acme(**changes: Any) -> Table:
    """A plain table with changes; a change to None takes the key away."""
    return {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
