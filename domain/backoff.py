"""How long to wait after the n-th failure in a row."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

#: First wait and longest wait for tokens that live two hours or more; shorter-lived ones scale down.
FIRST: Final = timedelta(seconds=30)
LONGEST: Final = timedelta(hours=1)
SHORTEST_FIRST: Final = timedelta(seconds=2)
SHORTEST_LONGEST: Final = timedelta(minutes=1)
#: 2**20 times the first wait is far past every cap; the bound keeps the power from growing without end.
_MOST_DOUBLINGS: Final = 20


def backoff(
    failures: int, *, lifetime: timedelta | None, jitter: float, retry_after: timedelta | None = None
) -> timedelta:
    """Return the wait after `failures` failures in a row, never less than the provider asked for.

    The ceiling is first x 2**(failures - 1), at most `LONGEST`; the wait is drawn from its upper half, so
    that connections that failed together do not come back together.

    Args:
        failures: At least 1.
        lifetime: Of the access token; None means unknown or never-ending.
        jitter: Uniform in [0, 1).
        retry_after: The provider's own wish (RFC 9110 §10.2.3); None if it named none.
    """
    first, longest = FIRST, LONGEST
    if lifetime is not None:
        first = min(FIRST, max(SHORTEST_FIRST, lifetime / 20))
        longest = min(LONGEST, max(SHORTEST_LONGEST, lifetime / 2))
    ceiling = min(longest, first * (1 << min(failures - 1, _MOST_DOUBLINGS)))
    wait = ceiling * (0.5 + 0.5 * jitter)
    if retry_after is not None and retry_after > wait:
        return retry_after + first * jitter
    return wait
