"""The providers Evergrant knows: the built-in definitions, and a file's that adds to or overrides them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from domain.errors import ConfigurationError
from providers.definition import ProviderDefinition
from providers.definition_errors import define
from providers.toml_values import ID_PATTERN

#: The setting that names the operator's own file.
SETTING: Final = "EVERGRANT_PROVIDERS_FILE"


class Catalogue:
    """Definitions by id, in alphabetical order. Immutable; safe to share between threads."""

    def __init__(self, definitions: Mapping[str, ProviderDefinition]) -> None:
        self._definitions = dict(sorted(definitions.items()))

    def __iter__(self) -> Iterator[ProviderDefinition]:
        return iter(self._definitions.values())

    def __len__(self) -> int:
        return len(self._definitions)

    def __contains__(self, provider_id: object) -> bool:
        return provider_id in self._definitions

    @property
    def ids(self) -> tuple[str, ...]:
        """The known ids, sorted."""
        return tuple(self._definitions)

    def get(self, provider_id: str) -> ProviderDefinition:
        """Return a provider's definition.

        Raises:
            ConfigurationError: No such provider; the message lists the known ones.
        """
        definition = self._definitions.get(provider_id)
        if definition is None:
            known = ", ".join(self._definitions)
            raise ConfigurationError(
                f"unknown provider {provider_id!r}; known are {known}. "
                f"Add [providers.{provider_id}] to the file that {SETTING} names"
            )
        return definition


def load(providers_file: Path | None = None) -> Catalogue:
    """Read the built-in catalogue and, over it, the operator's file.

    A table of the file whose id is built in is laid over that definition key by key, tables within it too;
    a list replaces the built-in list. Any other table is a provider of its own.

    Raises:
        ConfigurationError: The file cannot be read, is not TOML, or a definition does not validate; the
            message names file, key and reason, one line for each problem.
    """
    tables: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for entry in sorted(resources.files("providers.builtin").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            for provider_id, table in _tables(
                entry.read_text("utf-8"), source=f"built-in {entry.name}"
            ).items():
                tables[provider_id], sources[provider_id] = table, f"built-in {entry.name}"
    problems: list[str] = []
    if providers_file is not None:
        for provider_id, table in _tables(_read(providers_file), source=str(providers_file)).items():
            tables[provider_id] = _laid_over(tables.get(provider_id, {}), table)
            sources[provider_id] = str(providers_file)
    definitions: dict[str, ProviderDefinition] = {}
    for provider_id, table in tables.items():
        try:
            definitions[provider_id] = define(provider_id, table, source=sources[provider_id])
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Catalogue(definitions)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{SETTING}: {path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(
            f"{SETTING}: cannot read {path}: {error.strerror}; name a readable TOML file, or unset {SETTING}"
        ) from error


def _tables(text: str, *, source: str) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source}: is not TOML: {error}") from error
    problems = [
        f"{source}: {key}: unknown key; a definition is a table named [providers.<id>]"
        for key in document
        if key != "providers"
    ]
    providers = document.get("providers", {})
    if not isinstance(providers, dict):
        problems.append(f"{source}: providers: must be tables named [providers.<id>]")
        providers = {}
    for provider_id, table in providers.items():
        if not ID_PATTERN.fullmatch(provider_id):
            problems.append(
                f"{source}: [providers.{provider_id}]: the id must be lower-case letters, digits and dashes, "
                "start with a letter or digit, and have at most 63 characters"
            )
        elif not isinstance(table, dict):
            problems.append(f"{source}: providers.{provider_id}: must be a table, [providers.{provider_id}]")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return providers


def _laid_over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in table.items():
        under = merged.get(key)
        merged[key] = (
            _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
        )
    return merged
