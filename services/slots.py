"""Slots: which providers' calls hold this process' threads, so that none of them takes what others need.

How many a provider may hold is `domain.share`'s word. This keeps the books: a lock, and a few additions.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from domain.share import PROMPT, Share, anybodys, kept_free

#: A call for which a slot will be free in a moment waits for it this long, in seconds.
MOMENT: Final = 0.05


@dataclass(slots=True)
class _Held:
    """What one provider holds.

    Attributes:
        since: Of each slot, the oldest first: since when, and as the last of how many.
        missed_at: When a message found no slot last.
    """

    share: Share
    since: dict[int, tuple[float, int]] = field(default_factory=dict)
    waiting: int = 0
    missed_at: float = -math.inf


class Slots:
    """One per process; thread-safe."""

    def __init__(
        self, threads: int, *, moment: float = MOMENT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threads = threads
        self._anybodys = anybodys(threads)
        self._may_wait = kept_free(threads)
        self._moment = moment
        self._clock = clock
        self._freed = threading.Condition()
        self._of: dict[str, _Held] = {}
        self._all = 0
        self._last = 0

    def take(self, provider: str, most: int | None) -> int | None:
        """Take a slot, to be given back by its number; None where the provider has its share.

        Args:
            provider: Whose calls are counted together.
            most: What its definition allows, whatever its share is; None: nothing of its own.
        """
        with self._freed:
            held = self._of.get(provider)
            if held is None:
                held = self._of[provider] = _Held(Share.first(self._threads))
            if not self._free(held, most):
                held.missed_at = self._clock()
                if not self._soon(held):
                    return None
                held.waiting += 1
                self._freed.wait_for(lambda: self._free(held, most), self._moment)
                held.waiting -= 1
                if not self._free(held, most):
                    return None
            self._last += 1
            self._all += 1
            held.since[self._last] = (self._clock(), len(held.since) + 1)
            return self._last

    def give_back(self, provider: str, slot: int, *, called: bool = True) -> None:
        """Give a slot back; how long it was held decides what the provider may hold from now on.

        Args:
            called: False: nothing was called in the end, so that this says nothing of how long calls take.
        """
        with self._freed:
            held = self._of[provider]
            began, in_use = held.since.pop(slot)
            if held.missed_at >= began:
                # All of the share was needed meanwhile. Ticks publish in bursts, and what is left of
                # one is turned away before the first call has ended.
                in_use = max(in_use, int(held.share.bound))
            if called:
                held.share = held.share.after(self._clock() - began, in_use=in_use)
            self._all -= 1
            if held.waiting:
                self._freed.notify_all()

    def held_by(self, provider: str) -> int:
        """Return how many slots the provider holds now."""
        with self._freed:
            held = self._of.get(provider)
            return 0 if held is None else len(held.since)

    def _free(self, held: _Held, most: int | None) -> bool:
        in_use = len(held.since)
        if most is not None and in_use >= most:
            return False
        return self._all < self._anybodys or in_use < held.share.most(oldest=self._oldest(held), most=most)

    def _soon(self, held: _Held) -> bool:
        """Say whether a slot is about to be given back, and the wait for it takes no thread from others.

        Without that wait, the few threads that are kept free would turn over a prompt provider's messages as
        fast as they can.
        """
        return held.waiting < self._may_wait and self._oldest(held) <= PROMPT

    def _oldest(self, held: _Held) -> float:
        began = next(iter(held.since.values()), None)
        return 0.0 if began is None else self._clock() - began[0]
