"""The simulator's memory on disk: one event a line, handed to the kernel before the answer leaves.

Nothing is synced, so the journal survives ``kill -9`` of the simulator and not a crash of the machine. Queued
faults, rate-limit buckets and presentations under way are not in it: a presentation that was under way when
the simulator died is missing from the counts, though a rotation it had already caused is not.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from simulator.memory import Event
from simulator.tokens import new_key

_VERSION = 1
# A journal is rewritten as a snapshot when it has grown by this much, and to eight times its snapshot.
_COMPACT_AFTER_BYTES = 64 * 1024 * 1024
_encode = json.JSONEncoder(separators=(",", ":")).encode


class JournalError(Exception):
    """The journal cannot be used; the message says why and what to do."""


class Journal:
    """An append-only file of events, readable by its owner alone, used by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal and read its key.

        Raises:
            JournalError: another process has it, it is no journal of this version, or it cannot be opened.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.fchmod(self._fd, 0o600)
        except OSError as error:
            raise JournalError(
                f"cannot open the journal {path}: {error.strerror}; name another file"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise JournalError(
                f"the journal {path} is in use by another simulator; stop that one first"
            ) from error
        self._snapshot_size = self._size = 0
        self._snapshot: Callable[[], Iterator[Event]] | None = None
        self.key = self._read_key()

    def events(self) -> Iterator[Event]:
        """Yield the recorded events; a last line that was cut off by a crash is left out.

        Raises:
            JournalError: a line before the last is not JSON.
        """
        with self.path.open("rb") as lines:
            next(lines, None)
            for number, line in enumerate(lines, start=2):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise JournalError(
                        f"line {number} of the journal {self.path} is not JSON; delete it to start afresh"
                    ) from error

    def compact(self, snapshot: Callable[[], Iterator[Event]]) -> None:
        """Replace the file by `snapshot`'s events, in one step, and keep doing so whenever it has grown."""
        fresh = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Locked before it gets the name: there is no moment at which another process could take it.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(self._header())
            for event in snapshot():
                file.write(_encode(event).encode() + b"\n")
        fresh.replace(self.path)
        os.close(self._fd)
        self._fd = descriptor
        self._snapshot = snapshot
        self._snapshot_size = self._size = os.fstat(descriptor).st_size

    def append(self, event: Event) -> None:
        """Hand one event to the kernel.

        Raises:
            OSError: it could not be written whole, for example because the disk is full. The line is taken
                back, so that the next one does not follow half a line.
        """
        line = _encode(event).encode() + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "the simulator's journal took only part of a line; is the disk full?")
        self._size += written

    def compact_if_grown(self) -> None:
        """Compact a journal that has grown far beyond its snapshot. Called between two events."""
        grown = self._size - self._snapshot_size
        if (
            self._snapshot is not None
            and grown > _COMPACT_AFTER_BYTES
            and self._size > 8 * self._snapshot_size
        ):
            self.compact(self._snapshot)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)

    def _header(self) -> bytes:
        return _encode({"simulator_journal": _VERSION, "key": self.key}).encode() + b"\n"

    def _read_key(self) -> str:
        with self.path.open("rb") as lines:
            line = next(lines, b"")
        if not line.endswith(b"\n"):
            # Empty, or its creator died while writing the very first line: no event can have followed.
            os.ftruncate(self._fd, 0)
            self.key = new_key()
            os.write(self._fd, self._header())
            return self.key
        with suppress(ValueError, TypeError, KeyError):
            header = json.loads(line)
            if header["simulator_journal"] == _VERSION:
                return str(header["key"])
        raise JournalError(
            f"{self.path} is not a simulator's journal of version {_VERSION}; name another file"
        )
