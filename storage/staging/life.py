"""Proof of life: a lock file that the kernel lets go of when its process ends, however it ends.

Processes that share a spool can tell a dead one from a slow one by it, across containers that share the
folder too; process ids could not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_LIFE: Final = ".alive"
_HOLDING: Final = ".holding"


class LifeLock:
    """This process' own lock, held from `take` until `release` or its end."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Name the lock; nothing is touched yet.

        Args:
            owner: The process, as `tokens.lease_owner` names it.
        """
        stem = hashlib.sha256(owner.encode()).hexdigest()[:32]
        self._life, self._holding = folder / f"{stem}{_LIFE}", folder / f"{stem}{_HOLDING}"
        self._owner = owner
        self._descriptors: list[int] = []

    def take(self) -> None:
        """Show life from now on.

        Raises:
            OSError: The folder cannot be written; nothing is left of it there.
        """
        # Locked before it has its name: nobody ever sees it unlocked while we live. Made now, too, is what is
        # locked in the hour of need, when the disk may be full.
        try:
            self._take()
        except OSError:
            self.release()
            raise

    def _take(self) -> None:
        for path, locked in ((self._life, True), (self._holding, False)):
            part = _part(path)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            self._descriptors.append(descriptor)
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, self._owner.encode())
            part.replace(path)

    def hold(self, *, answers: bool) -> None:
        """Show, or stop showing, that this process' memory alone holds answers: it must not be killed.

        Never raises: who calls has an answer in hand.
        """
        if self._descriptors:
            with suppress(OSError):
                fcntl.flock(self._descriptors[1], fcntl.LOCK_EX if answers else fcntl.LOCK_UN)

    def release(self) -> None:
        """End in good order: nobody needs to find out."""
        for path in (self._life, self._holding):
            for name in (path, _part(path)):
                with suppress(OSError):
                    name.unlink()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


@contextmanager
def dead_owners(folder: Path) -> Iterator[dict[str, list[Path]]]:
    """Find the processes of this folder that have ended without a word; owner → its lock files.

    While the block runs nobody else finds the same ones. Who takes over what they left unlinks the files.
    """
    found: dict[str, list[Path]] = {}
    held: list[int] = []
    try:
        for path in sorted(folder.glob(f"*{_LIFE}")):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                held.append(descriptor)
                if _locked_by_another(descriptor):
                    continue
                owner = os.read(descriptor, 1024).decode("utf-8", "replace")
                found[owner] = [path, path.with_suffix(_HOLDING)]
        yield found
    finally:
        for descriptor in held:
            os.close(descriptor)


def anybody_holding(folder: Path) -> bool:
    """Say whether any living process of this folder has answers in its memory alone."""
    for path in folder.glob(f"*{_HOLDING}"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _locked_by_another(descriptor):
                    return True
            finally:
                os.close(descriptor)
    return False


def _locked_by_another(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
