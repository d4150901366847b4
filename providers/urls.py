"""Makes a connection's URLs of a definition's and of the connection's metadata. Nothing else makes any.

A value that does not match its variable's pattern never reaches a URL; `url_templates` has seen to it that no
value which matches leads to a host that the definition has not named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

from domain.errors import ConfigurationError
from providers.connections import Destination
from providers.definition import ProviderDefinition
from providers.definition_tables import Variable
from providers.patterns import read
from providers.toml_values import VARIABLE
from providers.url_templates import CLIENT_ID, host_is_written_out, names_in

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: No URL that is made is longer.
_LONGEST: Final = 2048


def problem(definition: ProviderDefinition, name: str, metadata: Mapping[str, object]) -> str | None:
    """Return what is wrong with the value that a connection has for a variable; None where it has a good one.

    The value is not repeated: it may be anything, a token in the wrong place included.
    """
    variable = definition.variables[name]
    value = metadata.get(name)
    if value is None:
        if variable.default is not None:
            return None
        return f"metadata.{name}: provider {definition.id!r} needs it for its URLs{_wanted(name, variable)}"
    if _text(value) is None or not read(variable.pattern).matches(str(value)):
        return (
            f"metadata.{name}: is not what provider {definition.id!r} has in its URLs, which is a text or a "
            f"number like {variable.pattern}{_wanted(name, variable)}"
        )
    return None


def _wanted(name: str, variable: Variable) -> str:
    said = "" if variable.help is None else f": {variable.help}"
    if variable.example is None:
        return said
    return f'{said}. Give the connection "metadata": {{"{name}": "{variable.example}"}}'


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def resolved(
    definition: ProviderDefinition,
    template: str,
    metadata: Mapping[str, object],
    *,
    client_id: str | None = None,
) -> str:
    """Return the URL for one connection.

    Args:
        client_id: What `{client_id}` in the path stands for; None where the URL has none.

    Raises:
        ConfigurationError: The connection's metadata lacks a value that fits; says which, and how to mend it.
    """
    if "{" not in template:
        return template
    values: dict[str, str] = {}
    for name in names_in(template):
        if name == CLIENT_ID and client_id is not None:
            values[name] = quote(client_id, safe="")
            continue
        if (found := problem(definition, name, metadata)) is not None:
            raise ConfigurationError(found)
        value = metadata.get(name)
        values[name] = str(definition.variables[name].default if value is None else value)
    url = VARIABLE.sub(lambda match: values[match.group(1)], template)
    if not _whole(url, template):
        names = ", ".join(f"metadata.{name}" for name in values)
        raise ConfigurationError(
            f"{names}: makes no URL of provider {definition.id!r}; see its variables' help"
        )
    return url


def _whole(url: str, template: str) -> bool:
    """Say whether host and path of a URL that was made are what they seem: a last look at any pattern."""
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    good = host_is_written_out(template) or all(_LABEL.fullmatch(label) for label in labels)
    steps = parts.path.split("/")
    return good and len(url) <= _LONGEST and "." not in steps and ".." not in steps


@lru_cache(maxsize=1024)
def _written(text: str) -> Destination:
    return Destination.of(text)


@lru_cache(maxsize=4096)
def _made(text: str, *, fixed: bool) -> Destination:
    return Destination.of(text, fixed=fixed)


def destination(
    definition: ProviderDefinition,
    template: str,
    metadata: Mapping[str, object],
    *,
    client_id: str | None = None,
) -> Destination:
    """Return where a call of one connection goes. One look into a table where the URL has no variable.

    Raises:
        ConfigurationError: As `resolved`.
    """
    if "{" not in template:
        return _written(template)
    url = resolved(definition, template, metadata, client_id=client_id)
    return _made(url, fixed=host_is_written_out(template))
