"""Is an endpoint down, or are some calls to it failing: judged by the recent calls of one process.

An endpoint that is down fails every call. Where some connections fail and others are served, stopping all
calls would make the served ones wait for the sake of the failing ones, which have backoffs of their own.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

#: Failures in a row that say "it is down" rather than "one call failed".
FAILURES_TO_OPEN: Final = 5
#: Calls that are remembered, and for how long, in seconds: what is older says nothing about now.
REMEMBERED: Final = 20
FOR_SECONDS: Final = 60.0
#: Of a whole memory this many successes may be luck; of a shorter one, none.
LUCKY: Final = 1


class RecentCalls:
    """The latest calls to one endpoint. Not thread-safe. Instants are seconds of one clock."""

    def __init__(self) -> None:
        self._calls: deque[tuple[float, bool]] = deque(maxlen=REMEMBERED)

    def note(self, *, ok: bool, at: float) -> None:
        """Remember a call that was answered properly, or was not."""
        self._calls.append((at, ok))

    def is_down(self, *, now: float) -> bool:
        """Say whether everything fails: the latest calls, and all but luck of what is remembered."""
        recent = [ok for at, ok in self._calls if now - at <= FOR_SECONDS]
        if len(recent) < FAILURES_TO_OPEN or any(recent[-FAILURES_TO_OPEN:]):
            return False
        return sum(recent) <= (LUCKY if len(recent) == REMEMBERED else 0)

    def says_anything(self, *, now: float) -> bool:
        """Say whether any call is young enough to count."""
        return bool(self._calls) and now - self._calls[-1][0] <= FOR_SECONDS

    @property
    def all_ok(self) -> bool:
        """Whether no failure is remembered, so that nothing is lost by forgetting it all."""
        return all(ok for _, ok in self._calls)


class RecentByScope:
    """The recent calls to many endpoints, for as long as they say anything. Not thread-safe.

    Scopes come and go with the tenants that they belong to: what is a minute old decides nothing, and would
    otherwise be kept for the life of the process.
    """

    def __init__(self) -> None:
        self._of: dict[str, RecentCalls] = {}
        self._swept_at = -math.inf

    def __len__(self) -> int:
        return len(self._of)

    def note(self, scope: str, *, ok: bool, at: float) -> RecentCalls:
        """Remember a call, and return what is known of its scope."""
        if at - self._swept_at > FOR_SECONDS:
            self._swept_at = at
            self._of = {key: recent for key, recent in self._of.items() if recent.says_anything(now=at)}
        recent = self._of.get(scope)
        if recent is None:
            recent = self._of[scope] = RecentCalls()
        recent.note(ok=ok, at=at)
        return recent

    def note_success_after_trouble(self, scope: str, *, at: float) -> None:
        """Remember a call that was answered, where failures are remembered that it may end."""
        if scope in self._of and self.note(scope, ok=True, at=at).all_ok:
            del self._of[scope]

    def forget(self, scope: str) -> None:
        """Know nothing of the scope any more."""
        self._of.pop(scope, None)
