"""A disk that is full for the spool of one machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: What the record calls it: machine B's.
SPOOL: Final = "spool"
_BYTES: Final = 256 * 1024


class SmallDisk:
    """The spool folder of a machine, on a file system of its own where that can be had.

    Attributes:
        how: What is done to it, for the result.
    """

    def __init__(self, data: Path) -> None:
        self.spool = data / "spool"
        self._mounted = False
        self.how = ""

    def mount(self) -> None:
        """Put a tiny file system in the spool's place, before any worker uses it."""
        self.spool.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            options = f"size={_BYTES},mode=0700"
            self._mounted = _ran("mount", "-t", "tmpfs", "-o", options, "evergrant-chaos", str(self.spool))
        self.how = (
            "a tmpfs of 256 KiB in the spool's place, filled to the last byte"
            if self._mounted
            else "the spool folder made unwritable (mounting a small file system was not possible)"
        )

    def unmount(self) -> None:
        """Take the file system away again."""
        if self._mounted:
            _ran("umount", "--lazy", str(self.spool))
            self._mounted = False

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let nothing more be written meanwhile."""
        filler = self.spool / "filler"
        if not self._mounted:
            self.spool.chmod(0o500)
            try:
                yield
            finally:
                self.spool.chmod(0o700)
            return
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                # Blocks first, then single bytes, until the file system itself says no.
                for size in (4096, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"\0" * size):
                            pass
            yield
        finally:
            filler.unlink(missing_ok=True)


def _ran(program: str, *words: str) -> bool:
    """Say whether the machine has the program and it did what was asked."""
    path = shutil.which(program)
    return (
        path is not None and subprocess.run([path, *words], check=False, capture_output=True).returncode == 0
    )
