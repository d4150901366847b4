"""Callers of one process who want the same of the same token share one attempt.

One of them leads: he alone reads the row, takes a place and a slot, and presents or waits for who does. The
others hear what he hears. A thousand callers for one stale token then cost what one of each process costs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from domain.asks import Outcome, RefreshAsk
from domain.errors import ServiceUnavailable
from services.refresh.result import RefreshResult

log = structlog.get_logger(__name__)

#: What a caller hears: the result, or that Postgres is away.
Told = RefreshResult | ServiceUnavailable
#: Called once, in the leader's thread, with what came of his attempt.
Then = Callable[[Told], None]

_BROKE_DOWN: Final = "busy"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants; equal wishes are one."""

    connection_id: UUID
    ask: RefreshAsk
    patience: timedelta


class _Waiting:
    """A caller who waits on his own thread."""

    def __init__(self) -> None:
        self._told: Told | None = None
        self._landed = threading.Event()

    def tell(self, told: Told) -> None:
        self._told = told
        self._landed.set()

    def hear(self) -> RefreshResult:
        # The leader always tells: his patience, the call's deadline and Postgres' timeouts end his attempt.
        self._landed.wait()
        if isinstance(self._told, RefreshResult):
            return self._told
        raise ServiceUnavailable(str(self._told))


@dataclass(slots=True)
class _Others:
    """Who waits for a leader: on threads of their own, and to be told later."""

    waiting: list[_Waiting] = field(default_factory=list)
    hearing: list[Then] = field(default_factory=list)


class Together:
    """One per process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._others: dict[Wish, _Others] = {}

    def have(self, wish: Wish, attempt: Callable[[], RefreshResult]) -> RefreshResult:
        """Return what comes of the wish, by an attempt of our own or another caller's.

        Raises:
            ServiceUnavailable: As the attempt.
        """
        waiting = _Waiting()
        with self._lock:
            others = self._join(wish)
            if others is not None:
                others.waiting.append(waiting)
        return self._lead(wish, attempt) if others is None else waiting.hear()

    def have_or_hear(
        self, wish: Wish, attempt: Callable[[], RefreshResult], then: Then
    ) -> RefreshResult | None:
        """As `have`, but never wait for another caller's attempt: None, and `then` is called with its end.

        If somebody's `then` raises, that is logged, and those after it are not called.
        """
        with self._lock:
            others = self._join(wish)
            if others is not None:
                others.hearing.append(then)
        return self._lead(wish, attempt) if others is None else None

    def _join(self, wish: Wish) -> _Others | None:
        """Return who waits for the leader; None: you lead. Under the lock."""
        others = self._others.get(wish)
        if others is None:
            self._others[wish] = _Others()
        return others

    def _lead(self, wish: Wish, attempt: Callable[[], RefreshResult]) -> RefreshResult:
        told: Told = RefreshResult(Outcome.DEFERRED, wish.connection_id, code=_BROKE_DOWN)
        try:
            result = attempt()
            # Who has not presented hears what he would have read: that the token is fresh.
            told = replace(result, outcome=Outcome.FRESH) if result.outcome is Outcome.REFRESHED else result
        except ServiceUnavailable as error:
            told = error
            raise
        finally:
            self._tell(wish, told)
        return result

    def _tell(self, wish: Wish, told: Told) -> None:
        with self._lock:
            others = self._others.pop(wish)
        for one in others.waiting:
            one.tell(told)
        for number, then in enumerate(others.hearing):
            try:
                then(told)
            except Exception as error:  # noqa: BLE001 - the leader's own result is not to be lost by it
                # Redis is away, and with it the place of all these results: trying each would keep this
                # thread for minutes.
                log.warning(
                    "callers_not_told", connection_id=str(wish.connection_id),
                    callers=len(others.hearing) - number, error=type(error).__name__,
                )  # fmt: skip
                return
