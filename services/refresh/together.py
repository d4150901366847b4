"""Callers of one process who want the same of the same token share one attempt.

One of them leads: he alone reads the row, takes a place and a slot, and presents or waits for who does. The
others hear what he hears. A thousand callers for one stale token then cost what one of each process costs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
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


class Together:
    """One per process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Wish, list[Then]] = {}

    def have(self, wish: Wish, attempt: Callable[[], RefreshResult]) -> RefreshResult:
        """Return what comes of the wish, by an attempt of our own or another caller's.

        Raises:
            ServiceUnavailable: As the attempt.
        """
        waiting = _Waiting()
        if self._joined(wish, waiting.tell):
            return waiting.hear()
        return self._lead(wish, attempt)

    def have_or_hear(
        self, wish: Wish, attempt: Callable[[], RefreshResult], then: Then
    ) -> RefreshResult | None:
        """As `have`, but never wait for another caller's attempt: None, and `then` is called with its end."""
        return None if self._joined(wish, then) else self._lead(wish, attempt)

    def _joined(self, wish: Wish, then: Then) -> bool:
        with self._lock:
            waiting = self._waiting.get(wish)
            if waiting is None:
                self._waiting[wish] = []
                return False
            waiting.append(then)
            return True

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
            waiting = self._waiting.pop(wish)
        for then in waiting:
            try:
                then(told)
            except Exception as error:  # noqa: BLE001 - whatever a caller's own trouble is, it is not the others'
                # Such as Redis being away, and with it the place of his result.
                log.warning(
                    "caller_not_told", connection_id=str(wish.connection_id), error=type(error).__name__
                )
