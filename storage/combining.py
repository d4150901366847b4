"""Combining: callers on many threads each hand in one request, and their requests are carried out together.

A group is whatever has come in while the group before it was under way. Nobody waits for others to come:
there is no timer, and a caller who is alone is served at once, on his own thread. There is no thread of the
combiner's own either: one of the callers, the *leader*, carries the group out, and hands the lead to the
first of those who have come in meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")


class GroupFailed(Exception):
    """The caller's group was not carried out, or nobody knows: the cause says why.

    Without a cause, the thread that led the group was ended (`SystemExit`, `KeyboardInterrupt`).
    """


class _Call(Generic[Request, Outcome]):
    """One caller's request, and what becomes of it. Written by the leader until `woken`."""

    __slots__ = ("cause", "outcomes", "request", "taken", "woken")

    def __init__(self, request: Request) -> None:
        self.request = request
        #: Some leader has it in his group.
        self.taken = False
        #: The outcome, alone in its tuple; empty: the group failed.
        self.outcomes: tuple[()] | tuple[Outcome] = ()
        self.cause: Exception | None = None
        # A bare lock, held until there is something to wake up for: a condition costs three of them.
        self.woken = threading.Lock()
        self.woken.acquire()


class Combiner(Generic[Request, Outcome]):
    """Carries requests out in groups. Thread-safe."""

    def __init__(
        self, carry_out: Callable[[list[Request]], Sequence[Outcome]], *, most: int, at_once: int = 1
    ) -> None:
        """Take what carries a group out.

        Args:
            carry_out: Called on the leader's thread with 1 to `most` requests in the order in which they
                came; returns as many outcomes in the same order, or raises, which fails the whole group.
            most: The most requests of a group.
            at_once: How many groups may be under way at once.
        """
        self._carry_out = carry_out
        self._most = most
        self._at_once = at_once
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Request, Outcome]] = deque()
        self._leaders: set[_Call[Request, Outcome]] = set()

    def ask(self, request: Request) -> Outcome:
        """Have the request carried out, alone or with others, and return its own outcome.

        Raises:
            GroupFailed: `carry_out` raised, or its thread was ended; each caller of the group hears it.
        """
        call: _Call[Request, Outcome] = _Call(request)
        try:
            with self._lock:
                leads = len(self._leaders) < self._at_once
                if leads:
                    self._leaders.add(call)
                else:
                    self._waiting.append(call)
            if not leads:
                call.woken.acquire()
            if not call.taken:
                # First come, or woken as the heir of a leader who is done.
                self._lead(call)
        finally:
            # However this thread's part ends: nobody may be left waiting for it.
            self._leave(call)
        if call.outcomes:
            return call.outcomes[0]
        raise GroupFailed(str(call.cause)) from call.cause

    def _lead(self, call: _Call[Request, Outcome]) -> None:
        group = [call]
        cause: Exception | None = None
        outcomes: Sequence[Outcome] = ()
        try:
            with self._lock:
                call.taken = True
                while self._waiting and len(group) < self._most:
                    group.append(self._waiting[0])
                    self._waiting.popleft().taken = True
            outcomes = self._carry_out([one.request for one in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller of the group hears it
            cause, outcomes = error, ()
        finally:
            # Also where the thread is being ended; the others hear then that nobody knows.
            for number, one in enumerate(group):
                one.cause = cause
                one.outcomes = (outcomes[number],) if outcomes else ()
                if one is not call:
                    one.woken.release()

    def _leave(self, call: _Call[Request, Outcome]) -> None:
        """Give the lead to the first of those who wait, if it is this call's to give."""
        with self._lock:
            if call not in self._leaders:
                if not call.taken:
                    # Its thread was ended while it waited.
                    self._waiting.remove(call)
                return
            self._leaders.remove(call)
            heir = self._waiting.popleft() if self._waiting else None
            if heir is not None:
                self._leaders.add(heir)
        if heir is not None:
            heir.woken.release()
