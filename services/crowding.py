"""Word from the workers to the scheduler: this provider has no slot for what you publish.

A counter for each provider and kind of call in Redis, raised by whoever turns messages away and read at each
tick. It is a hint: while it is lost, or Redis is away, messages are turned away a little more often.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, cast

import structlog
from pydantic import SecretStr
from redis.exceptions import RedisError

from domain.share import Allowance
from services.impatient_redis import impatient_redis
from services.scopes import Call, Scope

log = structlog.get_logger(__name__)

KEY: Final = "evergrant:turned_away"
#: A process raises its counters at most this often, in seconds.
PAUSE: Final = 0.25
#: Seconds for which Redis is left alone that did not answer.
PAUSE_AFTER_TROUBLE: Final = 5.0


class Crowding:
    """One per process; thread-safe. The worker's side and the scheduler's."""

    def __init__(self, redis_url: SecretStr, *, clock: Callable[[], float] = time.monotonic) -> None:
        # A hint is not worth waiting for.
        self._redis = impatient_redis(redis_url, seconds=0.5)
        self._clock = clock
        self._lock = threading.Lock()
        self._untold: Counter[str] = Counter()
        self._tell_at = self._ask_at = -math.inf
        #: What was read last, by kind of call: ticks of refreshes and of checks each look on their own. A
        #: kind that is missing was never looked at, so that nothing of it can be called new.
        self._seen: dict[Call, dict[str, int]] = {}
        self._allowances: dict[str, Allowance] = {}

    def turned_away(self, scope: Scope) -> None:
        """Tell the scheduler that a message of its found no slot."""
        self._tell(_name(scope))

    def _tell(self, counter: str) -> None:
        with self._lock:
            self._untold[counter] += 1
            if self._clock() < self._tell_at:
                return
            self._tell_at = self._clock() + PAUSE
            told, self._untold = self._untold, Counter()
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name, times in told.items():
                    pipeline.hincrby(KEY, name, times)
                pipeline.execute()
        except RedisError as error:
            self._trouble(error)

    def put_off(self, scope: Scope) -> None:
        """Tell the scheduler that a message of its was for an account whose own rate is used up."""
        self._tell(_put_off(scope))

    def crowded(self, call: Call) -> Mapping[str, int]:
        """Return how many messages were turned away since the last look, by name; for `published_at_most`."""
        with self._lock:
            if self._clock() < self._ask_at:
                return {}
        try:
            counted = cast("dict[bytes, bytes]", self._redis.hgetall(KEY))
        except RedisError as error:
            self._trouble(error)
            return {}
        names = {name.decode(): int(times) for name, times in counted.items()}
        mine = (f"{call}:", f"put_off:{call}:")
        now = {name: times for name, times in names.items() if name.startswith(mine)}
        with self._lock:
            before, self._seen[call] = self._seen.get(call), now
        if before is None:
            return {}
        # A Redis that was flushed counts anew.
        return {
            name: times - before.get(name, 0) if times >= before.get(name, 0) else times
            for name, times in now.items()
        }

    def published_at_most(self, scope: Scope, crowded: Mapping[str, int], room: int) -> int:
        """Return how many messages a tick may publish for the scope, where it might be `room`."""
        name = _name(scope)
        with self._lock:
            before = self._allowances.get(name, Allowance())
            allowance = before.after(turned_away=crowded.get(name, 0), room=room)
            self._allowances[name] = allowance
        return int(min(allowance.may, room))

    def more(self, scope: Scope, crowded: Mapping[str, int]) -> int:
        """Return how many messages a tick may publish beyond the scope's rate.

        Those that were put off have used nothing of it, and what is behind them must not wait for them: so
        many again, and once more, until a tick gets past them.
        """
        return 2 * crowded.get(_put_off(scope), 0)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _trouble(self, error: RedisError) -> None:
        log.debug("crowding_not_told", error=type(error).__name__)
        with self._lock:
            self._tell_at = self._ask_at = self._clock() + PAUSE_AFTER_TROUBLE


def _name(scope: Scope) -> str:
    return f"{scope.call}:{scope.provider_id}"


def _put_off(scope: Scope) -> str:
    return f"put_off:{_name(scope)}"
