"""Gives a data folder to one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from workers.supervision.errors import AlreadyRunning
from workers.supervision.folders import own_folder, private_folder
from workers.supervision.record import stop_leftovers

LEFTOVER_GRACE = timedelta(seconds=20)
"""Longer than a worker needs for a call to a provider; a person waits for the start meanwhile."""


@dataclass(frozen=True)
class ClaimedFolder:
    """A data folder that is ours alone while the claim lasts; only `claim_folder` makes one.

    Attributes:
        path: The data folder, absolute.
        logs: Where children's output goes.
        run: Where the lock, the children's notes and remembered ports are.
        leftovers: Names of children of a killed supervisor that this claim had to stop.
    """

    path: Path
    logs: Path
    run: Path
    leftovers: tuple[str, ...] = ()


@contextmanager
def claim_folder(folder: Path, *, leftover_grace: timedelta = LEFTOVER_GRACE) -> Iterator[ClaimedFolder]:
    """Hold a data folder exclusively, after stopping what a killed supervisor left running on it.

    The operating system releases the claim however its holder ends, so a kill -9 leaves no stale lock.

    Args:
        folder: The data folder; made when missing.
        leftover_grace: How long a leftover may take to end in good order, at most.

    Raises:
        AlreadyRunning: Somebody else holds it; nothing was touched.
        ConfigurationError: The folder cannot be used safely.
    """
    path = own_folder(folder.absolute())
    run = private_folder(path / "run")
    logs = private_folder(path / "logs")
    # Never inherited by a child (PEP 446), or children that outlive us would keep the claim.
    lock = os.open(run / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(path, _holder(lock)) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield ClaimedFolder(path, logs, run, stop_leftovers(run, leftover_grace))
    finally:
        os.close(lock)


def _holder(lock: int) -> int | None:
    written = os.pread(lock, 32, 0).strip()
    return int(written) if written.isdigit() else None
