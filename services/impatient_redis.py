"""Redis for what is not worth waiting for: one try, and a half-dead server counts as away."""

from __future__ import annotations

from pydantic import SecretStr
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def impatient_redis(url: SecretStr, *, seconds: float) -> Redis:
    """Return a client whose calls fail after this long, connecting included, and are not repeated."""
    return Redis.from_url(
        url.get_secret_value(),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )
