"""What a supervised process is, before it runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from workers.supervision.account import Account


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One program to keep running.

    Attributes:
        name: A short unique word; names the log and record files, so it holds no slash.
        argv: The program and its arguments. Every user of the machine can read them: never a secret.
        env: The child's whole environment; nothing is inherited. Hidden from `repr`: it may hold secrets.
        ready: Whether the process can serve now; called from the supervising loop about five times a
            second, so it answers within a fraction of a second and never raises for "not yet". None means
            ready as soon as it is started.
        ready_timeout: How long the first start may take until the whole start is given up, and a restart
            until the process is killed and started again.
        stop_signal: What asks this process to end in good order.
        stop_grace: How long it may then take before it is killed.
        spared: Whether it must not be killed although its grace is over, because something would be lost.
            Asked like `ready`; a second request to stop overrules it. None means never.
        restart: Whether a process that ended is started again. False makes it a step, such as a migration:
            what comes later waits until it has ended with exit code 0, and any other end, or none within
            `ready_timeout`, gives up the start. A step has no probe.
        awaited: Whether what comes later waits until this one is ready. Without, it starts at once; its own
            `ready_timeout` holds all the same.
        serves_others: Others depend on it: it is stopped alone, after everything that was started later is
            gone. The rest is stopped together.
        ports: Ports on 127.0.0.1 that must be free for its first start.
        account: Whom to run as; None means as ourselves.
        cwd: Where to start it; None means the supervisor's own folder.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool] | None = None
    ready_timeout: timedelta = timedelta(seconds=60)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace: timedelta = timedelta(seconds=30)
    spared: Callable[[], bool] | None = None
    restart: bool = True
    awaited: bool = True
    serves_others: bool = False
    ports: tuple[int, ...] = ()
    account: Account | None = None
    cwd: Path | None = None

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"a process name is a short word without a slash, not {self.name!r}")
        if not self.restart and self.ready is not None:
            raise ValueError(f"{self.name}: a step is ready when it has ended, so it takes no probe")
        if not self.restart and not self.awaited:
            raise ValueError(f"{self.name}: a step that nothing waits for would be no step")
