"""Children's log files.

A child writes to its file itself, so it neither waits for the supervisor nor loses its output when the
supervisor is killed. The file is opened for appending, which makes it safe to shorten underneath the child.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_TAIL_BYTES = 4096


def open_log(path: Path) -> int:
    """Open a log file for appending, readable by its owner alone; the caller closes the descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def rotate(path: Path, limit_bytes: int) -> bool:
    """Move a log that grew beyond the limit to `<name>.1`, replacing the one before; say whether it did.

    What the child writes between the copy and the cut (microseconds) is lost; nothing else is.
    """
    try:
        if path.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    older = path.with_name(path.name + ".1")
    partial = path.with_name(path.name + ".partial")
    with path.open("rb") as source, os.fdopen(_create_private(partial), "wb") as target:
        shutil.copyfileobj(source, target)
    os.truncate(path, 0)
    partial.replace(older)
    return True


def last_line(path: Path) -> str:
    """Read the last line that is not empty, at most 300 characters; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            lines = log.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
