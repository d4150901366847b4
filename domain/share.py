"""How many of a worker's threads one provider may hold: nearly all while it answers, few while it hangs.

A thread that waits for a provider is a thread that nobody else has. What is rationed is therefore the time
for which calls hold threads, and not their number: a provider that answers within moments may use nearly the
whole worker and delays nobody, and one that takes fifteen seconds for each call keeps a seventh of that.

Durations are seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: Calls that take no longer hold nobody up: p99 of a real token endpoint is about half of it.
PROMPT: Final = 2.0
#: How far one slow call moves the bound towards what its length allows.
_WEIGHT: Final = 0.25
#: How far one prompt call moves it up.
_GROWTH: Final = 0.25
#: How far one call moves it down that left some of it unused.
_UNUSED: Final = 1 / 16


def allowed(threads: int, seconds: float) -> float:
    """Return how many threads calls of this length may hold; at least one.

    Together they hold as many thread-seconds as the worker's threads do within `PROMPT`.
    """
    return float(threads) if seconds <= PROMPT else max(1.0, threads * PROMPT / seconds)


def kept_free(threads: int) -> int:
    """Return how many threads one provider never takes: an eighth, at least one of several."""
    return min(threads - 1, max(1, threads // 8))


def anybodys(threads: int) -> int:
    """Return how many threads may be held at once before anybody's share is looked at: a quarter."""
    return threads // 4


@dataclass(frozen=True, slots=True)
class Share:
    """What one provider may hold now.

    Attributes:
        bound: Threads. It grows by a quarter with each prompt call while all of it is in use, shrinks with
            slow ones, and sinks to half of the threads where that is enough: what a provider did not need
            before, it does not get when it begins to hang.
    """

    threads: int
    bound: float

    @classmethod
    def first(cls, threads: int) -> Share:
        """Return the share of a provider of which nothing is known."""
        return cls(threads, max(1.0, threads / 2))

    def after(self, seconds: float, *, in_use: int) -> Share:
        """Return the share after a call that took so long, and began as the last one of so many."""
        may = allowed(self.threads, seconds)
        if may < self.bound:
            return Share(self.threads, max(1.0, self.bound + _WEIGHT * (may - self.bound)))
        if in_use >= int(self.bound):
            return Share(self.threads, min(float(self.threads), self.bound + _GROWTH))
        enough = max(1.0, self.threads / 2, 2.0 * in_use)
        if self.bound <= enough:
            return self
        return Share(self.threads, self.bound + _UNUSED * (enough - self.bound))

    def most(self, *, oldest: float, most: int | None) -> int:
        """Return how many calls may be under way at once; at least one.

        Args:
            oldest: For how long the oldest one is under way; 0 where none is.
            most: What the provider's definition allows; None: whatever the worker has but for `kept_free`.
        """
        bound = min(self.bound, allowed(self.threads, oldest))
        return max(1, min(int(bound), most or self.threads - kept_free(self.threads)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many messages of one provider a tick may publish, so that workers have slots for them.

    Attributes:
        may: Less by a quarter of what workers turned away since the last tick, where that was more than half
            of it; else more by a tenth. Ticks publish in bursts, of which a provider that is prompt and has
            threads to spare finds a part turned away as well. Messages wait in the queue for a few ticks, so
            that what is turned away now was published by larger allowances.
        usual: What ticks have lately published at most; half of it is forgotten with each.
    """

    may: float = math.inf
    usual: float = 0.0

    def after(self, *, turned_away: int, room: int) -> Allowance:
        """Return the allowance of the next tick, in which there is room for so many."""
        published = min(self.may, max(self.usual, room))
        crowded = turned_away > published / 2
        may = max(1.0, published - turned_away / 4) if crowded else self.may * 1.1 + 1
        return Allowance(may, max(min(may, room), self.usual / 2))
