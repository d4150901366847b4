"""What the machine itself tells about processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def command_lines() -> bytes:
    """Give the command line and the title of every process of this machine."""
    parts = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            parts += [*process.cmdline(), process.name()]
    return "\n".join(parts).encode("utf-8", "surrogateescape")


def family_of(pid: int) -> list[psutil.Process]:
    """Give a process and everything that descends from it."""
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def still_running(family: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Give those that have not ended; a zombie has."""
    alive = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def names(family: Iterable[psutil.Process]) -> set[str]:
    """Give the names of those that have not ended."""
    found = set()
    for process in family:
        # A server's helper processes come and go by themselves.
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found


def kill_all(family: Iterable[psutil.Process]) -> None:
    """End them as `kill -9` does, all at once, and wait until they are gone."""
    members = list(family)
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(members, timeout=30)
