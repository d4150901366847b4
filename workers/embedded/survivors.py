"""Servers that still run on a folder that is ours alone."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil

from workers.embedded.errors import PreparationFailed
from workers.supervision.identity import ask, identity_of, kill_identified, wait_for_end

_GRACE_SECONDS = 20.0
_ROUNDS = 5


def stop_survivors(folder: Path, programs: frozenset[str], stop_signal: signal.Signals) -> None:
    """Stop every server that works inside `folder`; only for who holds the claim on the data folder.

    The notes in the run folder find most leftovers; this finds a server whose note is lost, and a Postgres
    backend that outlived its postmaster. Two servers on the same files would destroy them.

    Args:
        folder: The server's own folder; a process is a survivor when that is its working folder.
        programs: Names of the server's programs, so that a person's shell there is left alone.
        stop_signal: What asks the server to end; it is killed 20 s later.

    Raises:
        PreparationFailed: Somebody there cannot even be killed.
    """
    # Looked at again until nobody is left: one that was seen may have started another meanwhile.
    for _ in range(_ROUNDS):
        survivors = _working_in(folder, programs)
        if not survivors:
            return
        # A postmaster ends its own backends, in good order. Orphaned ones are asked together: one after the
        # other, each with its grace, a crowd of frozen ones would hold up the start for minutes.
        _end(survivors[:1], stop_signal)
        _end(survivors[1:], stop_signal)
    names = ", ".join(f"{process.info['name']} (process {process.pid})" for process in survivors)
    raise PreparationFailed(f"{names} works in {folder} and cannot be ended; end it, then start again")


def _end(processes: list[psutil.Process], stop_signal: signal.Signals) -> None:
    """Ask all of them, and kill whoever is still there after one grace for all."""
    known = [(process.pid, identity) for process in processes if (identity := identity_of(process.pid))]
    for pid, identity in known:
        ask(pid, identity, stop_signal)
    deadline = time.monotonic() + _GRACE_SECONDS
    for pid, identity in known:
        if not wait_for_end(pid, identity, max(0.0, deadline - time.monotonic())):
            kill_identified(pid, identity)


def _working_in(folder: Path, programs: frozenset[str]) -> list[psutil.Process]:
    """List them oldest first: a postmaster ends its own backends in good order."""
    survivors = []
    place = folder.resolve()
    for process in psutil.process_iter(["name", "create_time"]):
        with contextlib.suppress(psutil.Error, OSError):
            # The cheap question first: reading a working folder asks the kernel once for each process.
            if process.info["name"] in programs and Path(process.cwd()) == place:
                survivors.append(process)
    return sorted(survivors, key=lambda one: float(one.info["create_time"]))
