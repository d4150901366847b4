"""Whether the servers that a process stands on answer now."""

from __future__ import annotations

from typing import Final

from redis.exceptions import RedisError

from domain.errors import ServiceUnavailable
from services.impatient_redis import impatient_redis
from services.wiring import Services
from storage.inspection import database_time

#: Longer than this is as good as never, to whoever asks whether to send us requests.
_SECONDS: Final = 2.0


def readiness(services: Services) -> dict[str, str]:
    """Return `ok` or `unavailable` for `postgres` and for `redis`."""
    return {"postgres": _postgres(services), "redis": _redis(services)}


def _postgres(services: Services) -> str:
    try:
        database_time(services.engine)
    except ServiceUnavailable:
        return "unavailable"
    return "ok"


def _redis(services: Services) -> str:
    try:
        with impatient_redis(services.redis_url, seconds=_SECONDS) as client:
            client.ping()
    except RedisError:
        return "unavailable"
    return "ok"
