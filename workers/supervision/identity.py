"""Tells a process from a later one that was given the same number."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import cache
from pathlib import Path

import psutil


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def identity_of(pid: int) -> str | None:
    """Name the process that has `pid` now, so that no other process ever gets the same name.

    Linux counts a start in ticks since boot, which no change of the wall clock moves; psutil's creation
    time, used elsewhere, is derived from the wall clock. None means that there is no such process, or that
    it is dead and only waits for its parent to look (a zombie).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _portable_identity(pid)
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    state, *rest = fields.rpartition(")")[2].split()
    # proc_pid_stat(5): field 22 is the start time; `rest` begins with field 4.
    return None if state in {"Z", "X"} else f"boot {_boot_id()} tick {rest[18]}"


def _portable_identity(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"created {process.create_time():.2f}"
    except psutil.Error:
        return None


def is_alive(pid: int, identity: str) -> bool:
    """Say whether the process that was once identified so is still the one behind `pid`."""
    return identity_of(pid) == identity


def wait_for_end(pid: int, identity: str, seconds: float) -> bool:
    """Wait until an identified process, which need not be our child, is gone; False when time ran out."""
    deadline = time.monotonic() + seconds
    while is_alive(pid, identity):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def ask(pid: int, identity: str, number: signal.Signals) -> None:
    """Signal an identified process; nobody else is ever signalled, and nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if is_alive(pid, identity):
            os.kill(pid, number)


def kill_identified(pid: int, identity: str) -> None:
    """Kill an identified process and wait until it is gone, at most five seconds."""
    ask(pid, identity, signal.SIGKILL)
    wait_for_end(pid, identity, 5)
