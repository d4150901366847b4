"""How much processor time groups of processes use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of processor time, user and system, that groups of processes have used since their start."""

    seconds: dict[str, float]

    def since(self, before: Used) -> dict[str, float]:
        """Return the seconds used since an earlier look."""
        return {name: used - before.seconds.get(name, 0.0) for name, used in self.seconds.items()}


def used(groups: Mapping[str, Sequence[psutil.Process]]) -> Used:
    """Look at groups of processes and all that they have started; those that are gone count for nothing.

    Postgres has a process for each session, most of which begin only when there is work.
    """
    return Used({name: sum(map(_of, _families(group))) for name, group in groups.items()})


def _families(group: Sequence[psutil.Process]) -> set[psutil.Process]:
    found = set(group)
    for process in group:
        try:
            found.update(process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return found


def _of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Of children that have ended, too: their time is their parent's from then on.
    return float(times.user + times.system + times.children_user + times.children_system)
