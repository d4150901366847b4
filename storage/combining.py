"""Combining: callers on many threads each hand in one request, and their requests are carried out together.

A group is whatever has come in while the group before it was under way. Nobody waits for others to come:
there is no timer, and a caller who is alone is served at once, on his own thread. There is no thread of the
combiner's own either: one of the callers, the *leader*, carries the group out, and hands the lead to the
first of those who have come in meanwhile.

One group at a time is the cheapest, and one that hangs must not hold up the rest: whoever has waited for too
long leads another group beside it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")
#: Seconds after which a group that is under way does not keep another one from beginning.
PATIENCE: Final = 0.25
#: How many groups that hang may be under way at once, beside those that do not.
HANGING: Final = 2


class GroupFailed(Exception):
    """The caller's group was not carried out, or nobody knows: the cause says why.

    Without a cause, the thread that led the group was ended (`SystemExit`, `KeyboardInterrupt`).
    """


class _Call(Generic[Request, Outcome]):
    """One caller's request, and what becomes of it: written by his leader until he is woken."""

    __slots__ = ("cause", "outcomes", "request", "taken_by", "woken")

    def __init__(self, request: Request) -> None:
        self.request = request
        #: The leader who has it in his group.
        self.taken_by: _Call[Request, Outcome] | None = None
        #: The outcome, alone in its tuple; empty: the group failed.
        self.outcomes: tuple[Outcome, ...] = ()
        self.cause: Exception | None = None
        # A bare lock, held until there is something to wake up for: a condition makes one for each wait.
        self.woken = threading.Lock()
        self.woken.acquire()


class Combiner(Generic[Request, Outcome]):
    """Carries requests out in groups. Thread-safe."""

    def __init__(
        self,
        carry_out: Callable[[list[Request]], Sequence[Outcome]],
        *,
        most: int,
        lanes: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        """Take what carries a group out.

        Args:
            carry_out: Called on the leader's thread with 1 to `most` requests in the order in which they
                came; returns as many outcomes in the same order, or raises, which fails the whole group.
            most: The most requests of a group.
            lanes: How many groups are under way at once where none hangs.
            patience: Seconds after which one hangs.
        """
        self._carry_out = carry_out
        self._most = most
        self._lanes = lanes
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Request, Outcome]] = deque()
        #: Whoever leads, and since when.
        self._leaders: dict[_Call[Request, Outcome], float] = {}

    def ask(self, request: Request) -> Outcome:
        """Have the request carried out, alone or with others, and return its own outcome.

        Raises:
            GroupFailed: `carry_out` raised, or its thread was ended; each caller of the group hears it.
        """
        call: _Call[Request, Outcome] = _Call(request)
        try:
            with self._lock:
                leads = self._lead_is_free()
                if leads:
                    self._leaders[call] = time.monotonic()
                else:
                    self._waiting.append(call)
            if not leads:
                self._wait(call)
            if call.taken_by is None:
                self._lead(call)
        finally:
            # However this thread's part ends: nobody may be left waiting for it.
            self._leave(call)
        if call.outcomes:
            return call.outcomes[0]
        raise GroupFailed(str(call.cause)) from call.cause

    def _lead_is_free(self) -> bool:
        """Say whether another group may begin; the lock is held."""
        late = time.monotonic() - self._patience
        hanging = sum(began <= late for began in self._leaders.values())
        return len(self._leaders) - hanging < self._lanes and hanging <= HANGING

    def _wait(self, call: _Call[Request, Outcome]) -> None:
        """Wait until the call has its outcome, or the lead."""
        while not call.woken.acquire(timeout=self._patience):
            with self._lock:
                if call.taken_by is not None:
                    if call.taken_by not in self._leaders:
                        # His thread was ended before he could wake anybody.
                        return
                elif call in self._leaders:
                    # So was his who gave the lead away.
                    return
                elif self._lead_is_free():
                    self._leaders[call] = time.monotonic()
                    self._waiting.remove(call)
                    return

    def _lead(self, call: _Call[Request, Outcome]) -> None:
        group = [call]
        cause: Exception | None = None
        outcomes: Sequence[Outcome] = ()
        try:
            with self._lock:
                call.taken_by = call
                while self._waiting and len(group) < self._most:
                    # In this order: wherever this thread is ended, the other one knows whose end to look for.
                    self._waiting[0].taken_by = call
                    group.append(self._waiting.popleft())
            outcomes = self._carry_out([one.request for one in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller of the group hears it
            cause = error
        finally:
            # Also where the thread is being ended; the others hear then that nobody knows.
            for number, one in enumerate(group):
                one.cause = cause
                one.outcomes = tuple(outcomes[number : number + 1])
                if one is not call:
                    one.woken.release()

    def _leave(self, call: _Call[Request, Outcome]) -> None:
        """Give the lead to the first of those who wait, if it is this call's to give."""
        heir = None
        with self._lock:
            if call in self._waiting:
                # Its thread was ended while it waited.
                self._waiting.remove(call)
            if call in self._leaders:
                del self._leaders[call]
                if self._waiting and self._lead_is_free():
                    heir = self._waiting[0]
                    self._leaders[heir] = time.monotonic()
                    self._waiting.popleft()
        if heir is not None:
            heir.woken.release()
