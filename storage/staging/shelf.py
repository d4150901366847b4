"""The shelf: second copies of staged answers in Redis, so that another machine can land them.

Redis may lose everything at any time, so a copy here never counts as safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from uuid import UUID

import redis
import structlog
from pydantic import SecretStr
from redis.exceptions import RedisError

from domain.errors import SealBroken, ServiceUnavailable
from storage.staging.envelope import Envelope

log = structlog.get_logger(__name__)
T = TypeVar("T")

#: The ids of the connections that have something here.
_INDEX: Final = "evergrant:staged"
#: One hash a connection: attempt → envelope.
_OF: Final = "evergrant:staged:{}"
#: Half-dead Redis is treated as away: whoever asks has an answer in hand, or a recovery to make in time.
_TIMEOUT_SECONDS: Final = 1.0
#: Both keys in one step, so that no connection drops out of the index while it still has an answer.
_REMOVE: Final = """
redis.call('HDEL', KEYS[2], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[1], ARGV[1]) end
return 1
"""


class Shelf:
    """Thread-safe. Every call raises `ServiceUnavailable` when Redis does not answer within a second."""

    def __init__(self, redis_url: SecretStr) -> None:
        self._redis = redis.Redis.from_url(
            redis_url.get_secret_value(),
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._removal = self._redis.register_script(_REMOVE)

    def put(self, envelope: Envelope) -> None:
        """Keep a copy."""
        connection_id = str(envelope.connection_id)
        with _answering(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(
                _OF.format(connection_id), str(envelope.attempt_id), envelope.encode().decode("ascii")
            )
            pipeline.sadd(_INDEX, connection_id)
            pipeline.execute()

    def remove(self, connection_id: UUID, attempt_id: UUID) -> None:
        """Forget a copy; harmless when it is not there."""
        key = _OF.format(connection_id)
        _asked(lambda: self._removal(keys=[_INDEX, key], args=[str(connection_id), str(attempt_id)]))

    def connections(self) -> list[UUID]:
        """Return the connections that have an answer here."""
        members: set[bytes] = _asked(lambda: self._redis.smembers(_INDEX))
        found = []
        for member in members:
            try:
                found.append(UUID(member.decode("ascii")))
            except ValueError:
                log.error("staged_index_unreadable")
        return found

    def everything(self) -> Iterator[Envelope]:
        """Yield what is kept of all connections, as `envelopes` does of one.

        Raises:
            ServiceUnavailable: Redis does not answer.
        """
        for connection_id in self.connections():
            yield from self.envelopes(connection_id)

    def envelopes(self, connection_id: UUID) -> Iterator[Envelope]:
        """Yield what is kept of one connection; what cannot be read is left where it is."""
        found: dict[bytes, bytes] = _asked(lambda: self._redis.hgetall(_OF.format(connection_id)))
        for attempt, content in found.items():
            try:
                envelope = Envelope.decode(content)
            except SealBroken:
                envelope = None
            # Landing what lies under another name would remove the copy of its true one, and leave this.
            if envelope is None or _names(envelope) != (str(connection_id), attempt):
                log.error("staged_copy_unreadable", connection_id=str(connection_id))
            else:
                yield envelope

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()


def _names(envelope: Envelope) -> tuple[str, bytes]:
    return str(envelope.connection_id), str(envelope.attempt_id).encode("ascii")


class _answering:  # noqa: N801 - reads as the statement it is
    """Turn Redis' failures into `ServiceUnavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisError):
            raise ServiceUnavailable(f"Redis: {type(error).__name__}") from error


def _asked(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - the client's own answers
    with _answering():
        return ask()
