"""Request rates shared by all workers through Redis, and kept per process while Redis is away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import structlog
from limits import (
    RateLimitItem,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import SecretStr
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = structlog.get_logger(__name__)

#: A window must allow at least one request.
_SLOW: Final = 1.0
#: Those who were refused stand in a line that is forgotten after so many seconds, …
_LINE: Final = 60
#: … and nobody is sent away for longer than this.
LONGEST_WAIT: Final = timedelta(minutes=5)
#: Seconds for which Redis is left alone that did not answer in time: an admission asks it up to three times,
#: and every thread would wait for each. One that refuses costs no time, and is asked again at once.
PAUSE_AFTER_SILENCE: Final = 5.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Counts:
    """Where requests are counted: in Redis for all workers, or in this process' memory."""

    storage: RedisStorage | MemoryStorage
    limiter: SlidingWindowCounterRateLimiter


class SharedRates:
    """Sliding-window counters, from the `limits` library.

    A window that follows another may let through as many as that again: over any time t, no more than
    rate * (t + one window).
    """

    def __init__(self, redis_url: SecretStr, *, clock: Callable[[], float] = time.monotonic) -> None:
        storage = RedisStorage(
            redis_url.get_secret_value(),
            key_prefix="evergrant:rates",
            # An admission must not outwait a deadline: half-dead Redis is treated as away.
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
        )
        own = MemoryStorage()
        self._of_all = _Counts(storage, SlidingWindowCounterRateLimiter(storage))
        self._own = _Counts(own, SlidingWindowCounterRateLimiter(own))
        self._clock = clock
        self._ask_at = -math.inf

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request against the scope's rate; False when it is used up for the moment."""
        item = _item(per_second)
        return self._counted(scope, lambda counts: counts.limiter.hit(item, scope))

    def has_room(self, scope: str, per_second: float) -> bool:
        """Say whether a request would be counted now, and count none."""
        item = _item(per_second)
        return self._counted(scope, lambda counts: counts.limiter.test(item, scope))

    def turn(self, scope: str, per_second: float) -> timedelta:
        """Return how long it takes until it is the turn of one more who was refused, after those before.

        They stand in one line for all workers, so that a crowd comes back one by one at the rate, and not all
        at once to be refused again.
        """
        line = f"line|{scope}"
        place = self._counted(scope, lambda counts: counts.storage.incr(line, _LINE))
        return min(timedelta(seconds=place / per_second), LONGEST_WAIT)

    def _counted(self, scope: str, ask: Callable[[_Counts], _T]) -> _T:
        if self._clock() < self._ask_at:
            return ask(self._own)
        try:
            return ask(self._of_all)
        except RedisError as error:
            log.warning("rates_kept_alone", scope=scope, error=type(error).__name__)
            if isinstance(error, RedisTimeoutError):
                self._ask_at = self._clock() + PAUSE_AFTER_SILENCE
            return ask(self._own)


def _item(per_second: float) -> RateLimitItem:
    """Count over the shortest window in which the rate is a whole number of requests, or nearly so."""
    if per_second >= _SLOW and per_second.is_integer():
        return RateLimitItemPerSecond(int(per_second))
    if per_second * 60 >= _SLOW:
        return RateLimitItemPerMinute(int(per_second * 60))
    return RateLimitItemPerHour(max(1, int(per_second * 3600)))
