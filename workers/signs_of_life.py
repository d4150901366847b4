"""Signs of life: a file that a process' own loop keeps touching, read by health checks.

A file costs nothing, needs no broker, and goes stale when the loop hangs, which a process id does not.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from workers.embedded.layout import DataFolder

EVERY: Final = timedelta(seconds=5)
#: Older than this, the loop is taken for dead: several beats, because two cores can be busy.
STALE: Final = timedelta(seconds=30)


def heartbeat_file(folder: DataFolder, name: str) -> Path:
    """Return where the process of that name shows its life; the place is made if it is not there."""
    folder.make()
    return folder.run / f"{name}.alive"


def age(path: Path) -> timedelta | None:
    """Return how long ago the file was touched; None where there is none."""
    try:
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return None
    return timedelta(seconds=max(0.0, time.time() - touched))
