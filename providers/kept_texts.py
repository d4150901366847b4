"""Texts of a provider's that are kept and shown: ids and names of accounts, ids of messages.

What a pushed message calls an account must come out as it did when the account was connected.
"""

from __future__ import annotations

from typing import Final

#: What may be kept of a provider's ids; `connections.account_id` takes no more.
LONGEST: Final = 255
#: A JSON number beyond this has lost digits in other hands already (RFC 8259 §6); ids of that size are texts.
_LARGEST: Final = 2**63


def shown(value: object) -> str | None:
    """Return a text or a number as it may be kept and shown; None for what may not."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return None
    text = str(value).strip()
    return text if text and len(text) <= LONGEST and text.isprintable() else None
