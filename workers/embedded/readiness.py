"""Waiting for a server without a supervisor."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from workers.supervision.errors import NeverReady
from workers.supervision.logs import last_line


def wait_until(is_ready: Callable[[], bool], name: str, logs: Path, timeout: timedelta) -> None:
    """Return when `is_ready` says so.

    Raises:
        NeverReady: It did not within `timeout`.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while not is_ready():
        if time.monotonic() >= deadline:
            log = logs / f"{name}.log"
            why = f"was not ready within {timeout.total_seconds():g} s"
            raise NeverReady(name, why, log, last_line(log))
        time.sleep(0.05)
