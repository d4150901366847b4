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
    """Look at groups of processes; those that are gone count for nothing."""
    return Used({name: sum(_of(process) for process in group) for name, group in groups.items()})


def _of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
