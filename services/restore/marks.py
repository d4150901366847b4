"""High-water marks: how far the database had come, remembered in two places outside of it.

Each is merged by its maximum, so that any number of processes may write. Neither holds a secret, and neither
can be relied upon: a place that cannot be read says nothing, and one that cannot be written is written later.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, cast

import structlog
from pydantic import SecretStr
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from domain.restore import Mark, higher

log = structlog.get_logger(__name__)

FILE: Final = "high_water_mark.json"
REDIS_KEY: Final = "evergrant:high_water_mark"


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
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(merged.to_json())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

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
        self._client = Redis.from_url(url.get_secret_value(), socket_timeout=1.0, socket_connect_timeout=1.0)

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

    def __init__(self, data_dir: Path, redis_url: SecretStr) -> None:
        self._redis = MarkInRedis(redis_url)
        self._places: tuple[Place, ...] = (MarkFile(data_dir.absolute() / FILE), self._redis)
        self._lock = threading.Lock()
        self._silent: set[str] = set()

    def read(self) -> dict[str, Mark]:
        """Return the marks that can be read now, by the name of their place."""
        found = {}
        for place in self._places:
            try:
                mark = place.read()
            except (OSError, RedisError, ValueError) as error:
                self._told(place, error)
                continue
            self._told(place, None)
            if mark is not None:
                found[place.name] = mark
        return found

    def write(self, mark: Mark) -> bool:
        """Raise the marks in both places; False if not both took it."""
        whole = True
        for place in self._places:
            try:
                place.write(mark)
            except (OSError, RedisError, ValueError) as error:
                self._told(place, error)
                whole = False
        return whole

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _told(self, place: Place, error: Exception | None) -> None:
        """Log that a place is silent, once for as long as it lasts."""
        with self._lock:
            if error is None:
                self._silent.discard(place.name)
            elif place.name not in self._silent:
                self._silent.add(place.name)
                log.warning("mark_unreachable", place=place.name, error=type(error).__name__)
