"""Moves a definition's hosts onto the player, and changes nothing else about it."""

from __future__ import annotations

from typing import Any, Final

from providers.definition import ProviderDefinition

#: What is called, and of each table where it says so. The issuer and the page where users see their apps are
#: never asked.
ENDPOINTS: Final = ("token_url", "refresh_url", "revoke_url", "device_url")
TABLES: Final = {"check": "url", "account": "url", "revoke": "url", "events": "jwks_url"}


def moved(definition: ProviderDefinition, base_url: str) -> ProviderDefinition:
    """Return the definition with each endpoint at ``<base_url>/<its host>/<its path>``.

    Args:
        base_url: Of the player, such as ``http://127.0.0.1:4711``. What a definition says was validated at
            the real URLs; this copy is not validated again, because its hosts are none of the provider's.
    """
    changes: dict[str, Any] = {
        key: _moved(url, base_url) for key in ENDPOINTS if (url := getattr(definition, key)) is not None
    }
    for key, where in TABLES.items():
        table = getattr(definition, key)
        url = getattr(table, where, None)
        if url is not None:
            changes[key] = table.model_copy(update={where: _moved(url, base_url)})
    return definition.model_copy(update=changes)


def _moved(url: str, base_url: str) -> str:
    _, _, address = url.partition("://")
    return f"{base_url}/{address}"
