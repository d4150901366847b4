"""What everything that reads pushed messages shares: the refusal, ids of messages, instants."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from domain.errors import EvergrantError
from domain.events import Statement
from providers.kept_texts import shown

#: Numbers of at least this size are milliseconds: as seconds they would lie 3,000 years ahead.
_MILLISECONDS: Final = 100_000_000_000
_DIGITS: Final = re.compile(r"[0-9]{1,16}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Message:
    """A verified message.

    Attributes:
        source: Who it is from: its ids are unique there.
        id: Of the message; a repeated one is the same message.
        audience: The client ids that it was made for; empty: it does not say, or its signature has said it.
        answer: What the sender is to be answered; None: nothing in particular.
    """

    source: str
    id: str
    statements: tuple[Statement, ...]
    audience: tuple[str, ...] = ()
    answer: dict[str, str] | None = None


class Forged(EvergrantError):
    """A message that is refused: it is not what it should be, or not from whom it should be.

    Attributes:
        err: RFC 8935 §2.4's word for it.
        description: One sentence for whoever looks for the mistake; nothing of the message is repeated.
    """

    def __init__(self, err: str, description: str) -> None:
        super().__init__(f"{err}: {description}")
        self.err, self.description = err, description


def message_id(value: object, content: bytes) -> str:
    """Return a message's id as it is kept; a digest of what was signed where it has none that may be kept."""
    return shown(value) or f"sha256:{hashlib.sha256(content).hexdigest()}"


def instant(value: object) -> datetime | None:
    """Return an instant of Unix seconds, Unix milliseconds or ISO 8601; None for what is none of these."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    try:
        if _DIGITS.fullmatch(text):
            number = float(text)
            return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS else number, UTC)
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
