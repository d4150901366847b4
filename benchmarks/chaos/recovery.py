"""Waits until everything has recovered, for as long as the arithmetic of leases and doubts allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psycopg

from benchmarks.chaos.world import World

#: What is not over yet: doubts, due tokens, unresolved presentations, held providers, and tokens that have
#: not been refreshed since the last fault.
_UNSETTLED: Final = (
    "SELECT count(*) FILTER (WHERE status = 'in_doubt'),"
    " count(*) FILTER (WHERE status = 'active' AND refresh_due_at < now() - interval '8 seconds'),"
    " count(*) FILTER (WHERE status = 'active' AND presented_at < now() - interval '16 seconds'),"
    " count(*) FILTER (WHERE status = 'active' AND (last_refreshed_at IS NULL"
    " OR last_refreshed_at < to_timestamp(%s))),"
    " (SELECT count(*) FROM provider_holds WHERE held_until IS NOT NULL)"
    " FROM tokens"
)
_WORDS: Final = ("in doubt", "due", "presented and unresolved", "not refreshed since", "providers held")


def await_recovery(world: World, since: float, say: Callable[[str], None]) -> tuple[bool, float]:
    """Return whether everything recovered in time, and how many seconds it took.

    Args:
        since: When the last fault ended, Unix time.
    """
    began = time.monotonic()
    told = 0.0
    while (spent := time.monotonic() - began) < world.dose.quiet_seconds:
        time.sleep(1)
        try:
            counts = world.servers.query(_UNSETTLED, since)[0]
        except psycopg.Error:
            continue
        if not any(counts):
            return True, spent
        if spent - told >= 15:
            told = spent
            left = ", ".join(f"{count} {word}" for count, word in zip(counts, _WORDS, strict=True) if count)
            say(f"   quiet {spent:5.0f} s: {left}")
    return False, time.monotonic() - began
