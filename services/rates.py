"""Request rates shared by all workers through Redis, and kept per process while Redis is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

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

log = structlog.get_logger(__name__)

#: A window must allow at least one request.
_SLOW: Final = 1.0
#: Those who were refused stand in a line that is forgotten after so many seconds, …
_LINE: Final = 60
#: … and nobody is sent away for longer than this.
LONGEST_WAIT: Final = timedelta(minutes=5)


class SharedRates:
    """Sliding-window counters, from the `limits` library.

    A window that follows another may let through as many as that again: over any time t, no more than
    rate * (t + one window).
    """

    def __init__(self, redis_url: SecretStr) -> None:
        storage = RedisStorage(
            redis_url.get_secret_value(),
            key_prefix="evergrant:rates",
            # An admission must not outwait a deadline: half-dead Redis is treated as away.
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
        )
        self._storage, self._own = storage, MemoryStorage()
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._alone = SlidingWindowCounterRateLimiter(self._own)

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request against the scope's rate; False when it is used up for the moment."""
        item = _item(per_second)
        try:
            return bool(self._shared.hit(item, scope))
        except RedisError as error:
            _trouble(scope, error)
            return bool(self._alone.hit(item, scope))

    def has_room(self, scope: str, per_second: float) -> bool:
        """Say whether a request would be counted now, and count none."""
        item = _item(per_second)
        try:
            return bool(self._shared.test(item, scope))
        except RedisError as error:
            _trouble(scope, error)
            return bool(self._alone.test(item, scope))

    def turn(self, scope: str, per_second: float) -> timedelta:
        """Return how long it takes until it is the turn of one more who was refused, after those before.

        They stand in one line for all workers, so that a crowd comes back one by one at the rate, and not all
        at once to be refused again.
        """
        line = f"line|{scope}"
        try:
            place = self._storage.incr(line, _LINE)
        except RedisError as error:
            _trouble(scope, error)
            place = self._own.incr(line, _LINE)
        return min(timedelta(seconds=place / per_second), LONGEST_WAIT)


def _trouble(scope: str, error: RedisError) -> None:
    log.warning("rates_kept_alone", scope=scope, error=type(error).__name__)


def _item(per_second: float) -> RateLimitItem:
    """Count over the shortest window in which the rate is a whole number of requests, or nearly so."""
    if per_second >= _SLOW and per_second.is_integer():
        return RateLimitItemPerSecond(int(per_second))
    if per_second * 60 >= _SLOW:
        return RateLimitItemPerMinute(int(per_second * 60))
    return RateLimitItemPerHour(max(1, int(per_second * 3600)))
