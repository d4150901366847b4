"""Reads the times that providers write: lifetimes, instants, and how long to stay away.

An instant becomes a lifetime by the answer's own Date header: the two come from one clock, whatever ours
says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Final

from providers.vocabulary import LifetimeUnit

#: No access token lives longer on purpose; a larger number is milliseconds or a mistake.
LONGEST_LIFETIME: Final = timedelta(days=10 * 366)
#: The longest a provider is stayed away from at its own word.
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
#: An instant in Unix seconds that is larger is one in milliseconds: it would lie beyond the year 5138.
_MILLISECONDS_FROM: Final = 100_000_000_000
_LARGEST: Final = 10**15
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
_SECONDS: Final[Mapping[LifetimeUnit, float]] = {
    LifetimeUnit.SECONDS: 1,
    LifetimeUnit.MILLISECONDS: 0.001,
    LifetimeUnit.MINUTES: 60,
}


def lifetime(value: object, unit: LifetimeUnit = LifetimeUnit.SECONDS) -> timedelta | None:
    """Return a lifetime, None for what is none: an unknown lifetime must not cost the tokens.

    google-auth notes that some servers send a string; 0 and less are sent for "does not expire".
    """
    number = _number(value)
    return None if number is None else _plausible(number * _SECONDS[unit])


def _plausible(seconds: float) -> timedelta | None:
    # Less than a second is no lifetime but a unit that was taken for another one.
    if not 1 <= seconds <= LONGEST_LIFETIME.total_seconds():
        return None
    return timedelta(seconds=int(seconds))


def _number(value: object) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A larger integer than that is none of ours, and arithmetic with it could overflow.
    return value if -_LARGEST < value < _LARGEST else None


def instant(value: object) -> datetime | None:
    """Return an instant given in Unix seconds or milliseconds, or in ISO 8601; None for what is none.

    An ISO 8601 time without an offset is taken for UTC.
    """
    number = _number(value)
    if number is not None:
        seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
        return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 32503680000 else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def left_until(value: object, headers: Mapping[str, str], now: datetime | None) -> timedelta | None:
    """Return the lifetime that ends at an instant; None for what is none, or where no clock is known.

    Args:
        headers: The answer's; its Date header is the clock.
        now: The caller's clock, where the answer has no date; None: he knows none.
    """
    until, sent = instant(value), _date(headers.get("date", "")) or now
    return None if until is None or sent is None else _plausible((until - sent).total_seconds())


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return how long the provider asks us to stay away (RFC 9110 §10.2.3), at most a day; None if unsaid.

    A date is read against the answer's own Date header; Zoom writes one in ISO 8601. Shopify writes seconds
    as 2.0.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        return min(timedelta(seconds=ceil(float(text))), LONGEST_RETRY_AFTER)
    until = _date(text) or (instant(text) if "T" in text else None)
    sent = _date(headers.get("date", ""))
    if until is None or sent is None:
        return None
    return min(max(until - sent, timedelta(0)), LONGEST_RETRY_AFTER)


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
