"""What a person's consent comes to: which scopes to ask for, and which of them were not given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

#: OpenID Connect Core §11: asks for a refresh token. Some providers grant it and leave it out of the answer's
#: scope; the refresh token itself says that it was given.
OFFLINE_ACCESS: Final = "offline_access"


def united(*lists: Iterable[str]) -> tuple[str, ...]:
    """Return every scope of all lists once, in the order in which they are first named."""
    return tuple(dict.fromkeys(scope for scopes in lists for scope in scopes))


def shortfall(
    asked: Sequence[str],
    granted: Sequence[str] | None,
    *,
    aliases: Mapping[str, str],
    refreshable: bool,
) -> tuple[str, ...]:
    """Return the scopes that were asked for and not given, in the order in which they were asked for.

    Args:
        granted: As the answer names them; None: it names none, so all were given (RFC 6749 §5.1).
        aliases: Scope as asked for -> as the provider's answers name it.
        refreshable: A refresh token came with the answer.
    """
    if granted is None:
        return ()
    given = set(granted)
    if refreshable:
        given.add(OFFLINE_ACCESS)
    return tuple(scope for scope in asked if scope not in given and aliases.get(scope) not in given)
