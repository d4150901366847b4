"""Files that are whole or not there, and on the disk before they count."""

from __future__ import annotations

import os
from pathlib import Path


def replace_private(path: Path, text: str, *, partial: Path | None = None) -> None:
    """Write a file with mode 0600, durably, whole or not at all.

    Args:
        partial: Under which name it is written first, where one writer at a time is certain: what a killed
            one left is then removed by the next. None: a name of this process' own.

    Raises:
        OSError: It could not be written. The file is as it was.
    """
    if partial is None:
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as fsync does for a file's content.

    Raises:
        OSError: The folder is not there, or its disk is broken.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
