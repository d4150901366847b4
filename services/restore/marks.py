"""High-water marks: how far the database had come, remembered in two places outside of it.

Each is merged by its maximum, so that any number of processes may write. Neither holds a secret, and neither
can be relied upon: a place that cannot be read says nothing, and one that cannot be written is written later.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, cast

import structlog
from pydantic import SecretStr
from redis.client import Pipeline
from redis.exceptions import RedisError

from domain.restore import Mark, higher
from services.impatient_redis import impatient_redis
from storage.files import replace_private

log = structlog.get_logger(__name__)

#: Below the data folder; beside the staged answers, in the one place that is sure to outlive its process.
FILE: Final = "spool/high_water_mark.json"
REDIS_KEY: Final = "evergrant:high_water_mark"
#: Seconds for which a place is left alone that did not answer: a frozen Redis costs each look a second, and
#: every new connection to Postgres looks.
PAUSE: Final = 5.0


class Place(Protocol):
    """Where a mark is kept; `name` is for people."""

    name: str

    def read(self) -> Mark | None:
        """Return the mark; None where there is none. Raises OSError, RedisError or ValueError."""

    def write(self, mark: Mark) -> None:
        """Make the mark here no lower than `mark`. Raises OSError, RedisError or ValueError."""


class MarkFile:
    """In the data folder, readable by its owner alone, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def read(self) -> Mark | None:
        """Return the file's mark; None where there is no file."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return Mark.from_json(text)

    def write(self, mark: Mark) -> None:
        """Replace the file, durably, if its mark is lower."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            merged = higher(self._readable(), mark)
            partial = self._path.with_name(f".{self._path.name}.partial")
            replace_private(self._path, merged.to_json(), partial=partial)

    def _readable(self) -> Mark | None:
        try:
            return self.read()
        except ValueError:
            # Somebody has spoilt it; from here on it is a mark again.
            return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for our turn among the processes and threads that write this file."""
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class MarkInRedis:
    """One key, seen by every machine."""

    def __init__(self, url: SecretStr) -> None:
        self.name = "Redis"
        # A look must not outwait a deadline: half-dead Redis is treated as away.
        self._client = impatient_redis(url, seconds=1.0)

    def read(self) -> Mark | None:
        """Return the key's mark; None where there is no such key."""
        found = cast("bytes | None", self._client.get(REDIS_KEY))
        return None if found is None else Mark.from_json(found.decode())

    def write(self, mark: Mark) -> None:
        """Set the key if its mark is lower; another process' change in between begins it anew."""

        def merge(pipe: Pipeline) -> None:
            found = cast("bytes | None", pipe.get(REDIS_KEY))
            try:
                known = None if found is None else Mark.from_json(found.decode())
            except ValueError:
                known = None
            pipe.multi()
            pipe.set(REDIS_KEY, higher(known, mark).to_json())

        self._client.transaction(merge, REDIS_KEY)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


class OutsideMarks:
    """The file and Redis together; thread-safe."""

    def __init__(
        self, data_dir: Path, redis_url: SecretStr, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = MarkInRedis(redis_url)
        self._places: tuple[Place, ...] = (MarkFile(data_dir.absolute() / FILE), self._redis)
        self._clock = clock
        self._lock = threading.Lock()
        #: What each place said last, and until when those are left alone that did not answer.
        self._said: dict[str, Mark] = {}
        self._silent_until: dict[str, float] = {}

    def read(self) -> dict[str, Mark]:
        """Return the marks by the name of their place; of one that does not answer, what it said last."""
        found = {}
        for place in self._places:
            if not self._is_silent(place):
                try:
                    mark = place.read()
                except (OSError, RedisError, ValueError) as error:
                    self._fell_silent(place, error)
                else:
                    self._answered(place)
                    if mark is None:
                        continue
                    with self._lock:
                        self._said[place.name] = mark
            with self._lock:
                if place.name in self._said:
                    found[place.name] = self._said[place.name]
        return found

    def write(self, mark: Mark) -> bool:
        """Raise the marks in both places; False if not both took it."""
        whole = True
        for place in self._places:
            if self._is_silent(place):
                whole = False
                continue
            try:
                place.write(mark)
            except (OSError, RedisError, ValueError) as error:
                self._fell_silent(place, error)
                whole = False
            else:
                self._answered(place)
        return whole

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _is_silent(self, place: Place) -> bool:
        with self._lock:
            return self._clock() < self._silent_until.get(place.name, 0.0)

    def _answered(self, place: Place) -> None:
        with self._lock:
            self._silent_until.pop(place.name, None)

    def _fell_silent(self, place: Place, error: Exception) -> None:
        """Leave the place alone for a while, and log it once for as long as that lasts."""
        # What cannot be read may yet be written over.
        pause = 0.0 if isinstance(error, ValueError) else PAUSE
        with self._lock:
            known = place.name in self._silent_until
            self._silent_until[place.name] = self._clock() + pause
        if not known:
            log.warning("mark_unreachable", place=place.name, error=type(error).__name__)
