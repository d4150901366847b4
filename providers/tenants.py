"""Tenants: which part of a provider, with troubles of its own, a grant belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.errors import ConfigurationError
from providers.definition import ProviderDefinition

#: A tenant's name travels in messages and in the keys of breakers.
LONGEST: Final = 255


def tenant_of(definition: ProviderDefinition, metadata: Mapping[str, object]) -> str | None:
    """Return the tenant that a connection's metadata names, as text; None if there is none to name.

    Raises:
        ConfigurationError: The metadata has the key, with something that names no tenant.
    """
    key = definition.tenant_field
    value = None if key is None else metadata.get(key)
    if value is None:
        return None
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text or not text.isprintable() or len(text) > LONGEST:
        raise ConfigurationError(
            f"{key}: names the tenant at provider {definition.id!r} and must be a text of 1 to {LONGEST} "
            "printable characters or a whole number; leave it out for a grant of no tenant"
        )
    return text
