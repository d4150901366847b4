"""Redis answers and refuses: too few replicas, no disk, no memory, no permission, a key of another type.

Celery ends a worker for such an answer. Nothing is wrong with the worker, and what it holds would have to
wait for the visibility timeout, so it waits and asks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

log = structlog.get_logger(__name__)

#: How long a channel that was refused takes no turn, in seconds.
PAUSE: Final = 1.0
_CODES: Final = re.compile(r"\b(READONLY|NOREPLICAS|MISCONF|OOM|NOPERM|WRONGTYPE|BUSY|MASTERDOWN)\b")
#: Refusals in a row are logged once in so many seconds.
_SAY_EVERY: Final = 30.0


class Refused(ResponseError):
    """Redis refused a call; ask again later, over the same connection."""


@contextmanager
def telling_refusals() -> Iterator[None]:
    """Name refused calls by what the caller does next.

    Raises:
        Refused: Ask again later.
        redis.exceptions.ConnectionError: The server has become a replica; connect anew, to the primary.
    """
    try:
        yield
    except ResponseError as error:
        if code_of(error) == "READONLY":
            raise RedisConnectionError("the server has become a replica") from error
        raise Refused(*error.args) from error


def code_of(error: ResponseError) -> str:
    """Give Redis' word for its refusal, which stands behind where the script was; the rest may name keys.

    redis-py knows some by a class of their own, but only outside of scripts.
    """
    if isinstance(error, ReadOnlyError):
        return "READONLY"
    found = _CODES.search(str(error))
    return found[0] if found else type(error).__name__


class Pause:
    """Whether somebody who was refused asks again already."""

    def __init__(self) -> None:
        self._until = 0.0
        self._said = -_SAY_EVERY

    @property
    def over(self) -> bool:
        """Whether to ask again."""
        return not self._until or monotonic() >= self._until

    def begin(self, error: ResponseError) -> None:
        """Wait after a refusal, and say so unless it was said a moment ago."""
        now = monotonic()
        self._until = now + PAUSE
        if now - self._said >= _SAY_EVERY:
            self._said = now
            log.warning("broker_refuses", code=code_of(error))
