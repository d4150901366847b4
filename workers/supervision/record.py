"""The note that each child leaves in the run folder, so that a later start finds it after a kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from workers.supervision.identity import ask, identity_of, is_alive, kill_identified, wait_for_end


@dataclass(frozen=True, kw_only=True)
class ChildRecord:
    """Who a child is and how it wants to be stopped.

    Attributes:
        position: Its place in the order of starting.
        identity: As `identity_of` gave it when the child was started.
        stop_signal: The signal's number.
        stop_grace_seconds: How long it may take after that signal.
        serves_others: It is stopped after everything else is gone.
    """

    name: str
    position: int
    pid: int
    identity: str
    stop_signal: int
    stop_grace_seconds: float
    serves_others: bool

    def write(self, run: Path) -> None:
        """Put the note into the run folder, whole or not at all."""
        path = run / f"{self.name}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.chmod(0o600)
        partial.replace(path)

    def remove(self, run: Path) -> None:
        """Take the note away, once the child is gone."""
        (run / f"{self.name}.json").unlink(missing_ok=True)


def _read(path: Path) -> ChildRecord | None:
    """Read one note; None when it is damaged, which the atomic write leaves to a failing disk alone."""
    try:
        return ChildRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def stop_leftovers(run: Path, longest_grace: timedelta) -> tuple[str, ...]:
    """Stop every child that a killed supervisor left behind, and forget the notes.

    As a supervisor stops them: what serves nobody else together, then each server, last started first.

    Args:
        run: The run folder.
        longest_grace: However long a child's own grace is, it is killed after this: somebody waits.

    Returns:
        The names of those that were still alive. A process that merely got the same number is not touched.
    """
    found = [record for path in run.glob("*.json") if (record := _read(path)) is not None]
    found.sort(key=lambda record: record.position, reverse=True)
    alive = [record for record in found if is_alive(record.pid, record.identity)]
    _stop_together([record for record in alive if not record.serves_others], longest_grace)
    for server in alive:
        if server.serves_others:
            _stop_together([server], longest_grace)
    for path in list(run.glob("*.json")):
        path.unlink(missing_ok=True)
    return tuple(record.name for record in alive)


def _stop_together(records: list[ChildRecord], longest_grace: timedelta) -> None:
    """Stop leftover children, then what they started themselves and did not take along."""
    # Read while the leaders are known to live: a session's number is its leader's, so these are theirs.
    families = [
        (pid, identity)
        for record in records
        for pid in _session(record.pid)
        if (identity := identity_of(pid)) is not None
    ]
    for record in records:
        ask(record.pid, record.identity, signal.Signals(record.stop_signal))
    began = time.monotonic()
    for record in records:
        grace = min(record.stop_grace_seconds, longest_grace.total_seconds())
        if not wait_for_end(record.pid, record.identity, began + grace - time.monotonic()):
            kill_identified(record.pid, record.identity)
    for pid, identity in families:
        kill_identified(pid, identity)


def _session(leader: int) -> list[int]:
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if pid != leader and os.getsid(pid) == leader:
                members.append(pid)
    return members
