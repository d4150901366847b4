"""Request rates shared by all workers through Redis, and kept per process while Redis is away."""

from __future__ import annotations

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


class SharedRates:
    """Sliding-window counters, from the `limits` library."""

    def __init__(self, redis_url: SecretStr) -> None:
        storage = RedisStorage(
            redis_url.get_secret_value(),
            key_prefix="evergrant:rates",
            # An admission must not outwait a deadline: half-dead Redis is treated as away.
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
        )
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, scope: str, per_second: float) -> bool:
        """Count one request against the scope's rate; False when it is used up for the moment."""
        item = _item(per_second)
        try:
            return bool(self._shared.hit(item, scope))
        except RedisError as error:
            log.warning("rates_kept_alone", scope=scope, error=type(error).__name__)
            return bool(self._alone.hit(item, scope))


def _item(per_second: float) -> RateLimitItem:
    """Count over the shortest window in which the rate is a whole number of requests, or nearly so."""
    if per_second >= _SLOW and per_second.is_integer():
        return RateLimitItemPerSecond(int(per_second))
    if per_second * 60 >= _SLOW:
        return RateLimitItemPerMinute(int(per_second * 60))
    return RateLimitItemPerHour(max(1, int(per_second * 3600)))
