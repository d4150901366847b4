"""One supervised process through its runs: started, watched, restarted, stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workers.supervision.child import Child
from workers.supervision.claim import ClaimedFolder
from workers.supervision.errors import CannotLaunch, NeverReady, PortInUse
from workers.supervision.logs import last_line
from workers.supervision.ports import is_free
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import Event, Happening, ProcessState, Status

FIRST_PAUSE = timedelta(milliseconds=500)
LONGEST_PAUSE = timedelta(seconds=30)
STEADY_AFTER = timedelta(minutes=1)
"""A process that lived this long is trusted again: its next death starts the pauses from the beginning."""
HURRIED_GRACE = timedelta(seconds=3)
"""What is left of a process's grace once somebody asked a second time to stop."""
_FIRST_START_DEATHS = 3


def pause_before_restart(deaths: int) -> timedelta:
    """How long to wait after so many deaths in a row: 0.5 s doubled each time, at most 30 s."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 16))


class Managed:
    """One process of a supervisor; `advance` and `advance_stop` are called a few times a second."""

    def __init__(
        self, spec: ProcessSpec, folder: ClaimedFolder, position: int, report: Callable[[Event], None]
    ) -> None:
        self.spec = spec
        self._folder = folder
        self._position = position
        self._report = report
        self._child: Child | None = None
        self._status = Status.WAITING
        self._since = datetime.now(UTC)
        self._was_ready = False
        self._deaths_in_a_row = 0
        self._restarts = 0
        self._last_exit: int | None = None
        self._first_started = 0.0
        self._started = 0.0
        self._start_again = 0.0
        self._kill_at = 0.0
        self._hurried = False
        self._told_spared = False

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self._folder.logs / f"{self.spec.name}.log"

    @property
    def was_ready(self) -> bool:
        """Whether it has been ready once, so that the next one may start."""
        return self._was_ready

    @property
    def gone(self) -> bool:
        """Whether no process of it runs."""
        return self._child is None

    def state(self) -> ProcessState:
        """Tell where it stands."""
        pid = None if self._child is None else self._child.pid
        return ProcessState(self.spec.name, self._status, pid, self._restarts, self._since, self._last_exit)

    def advance(self) -> None:
        """Do what is due: start, look whether it is ready, notice its death, start it again.

        Raises:
            NeverReady, CannotLaunch, PortInUse: The first start failed.
        """
        now = time.monotonic()
        match self._status:
            case Status.WAITING:
                self._check_ports()
                self._first_started = now
                self._start(now)
            case Status.RESTARTING if now >= self._start_again:
                self._restarts += 1
                self._start(now)
            case Status.STARTING | Status.RUNNING:
                self._watch(now)
            case _:
                pass

    def begin_stop(self) -> None:
        """Ask the process to end; nothing to ask when none runs."""
        if self._child is None:
            self._become(Status.STOPPED)
        elif self._status is not Status.STOPPING:
            self._kill_at = time.monotonic() + self.spec.stop_grace.total_seconds()
            self._tell(Happening.STOPPING)
            self._become(Status.STOPPING)
            self._child.send(self.spec.stop_signal)

    def hurry(self) -> None:
        """Shorten the grace of a process that was asked to end, and spare it no longer."""
        self._hurried = True
        self._kill_at = min(self._kill_at, time.monotonic() + HURRIED_GRACE.total_seconds())

    def advance_stop(self) -> None:
        """Notice that the process ended, or kill it when its grace is over."""
        if self._child is None:
            return
        code = self._child.exit_code()
        if code is not None:
            self._last_exit = code
            self._tell(Happening.STOPPED, f"exit code {code}")
            self._child = None
            self._become(Status.STOPPED)
        elif time.monotonic() >= self._kill_at:
            if self._spared():
                return
            self._kill_at = float("inf")
            self._tell(Happening.KILLED, "it did not end within its grace")
            self._child.kill()

    def _spared(self) -> bool:
        """Say whether the process may have more time, and tell so once."""
        if self._hurried or self.spec.spared is None or not self.spec.spared():
            return False
        if not self._told_spared:
            self._told_spared = True
            self._tell(Happening.SPARED, "it holds what would be lost; asking again kills it all the same")
        return True

    def _check_ports(self) -> None:
        for port in self.spec.ports:
            if not is_free(port):
                raise PortInUse(port, self.spec.name)

    def _start(self, now: float) -> None:
        try:
            self._child = Child.start(self.spec, self._folder, position=self._position)
        except CannotLaunch as error:
            if not self._was_ready:
                raise
            self._pause(now, str(error))
            return
        self._started = now
        self._become(Status.STARTING)
        self._tell(Happening.STARTED)

    def _watch(self, now: float) -> None:
        if self._child is None:
            raise AssertionError("unreachable")
        code = self._child.exit_code()
        if code is not None:
            self._died(now, code)
        elif self._status is Status.STARTING:
            if _is_ready(self.spec):
                self._was_ready = True
                self._become(Status.RUNNING)
                self._tell(Happening.READY)
            elif now - self._started >= self.spec.ready_timeout.total_seconds():
                self._missed_its_time()
        elif now - self._started >= STEADY_AFTER.total_seconds():
            self._deaths_in_a_row = 0

    def _missed_its_time(self) -> None:
        seconds = self.spec.ready_timeout.total_seconds()
        if not self._was_ready:
            raise self._never_ready(f"was not ready within {seconds:g} s")
        if self._child is None:
            raise AssertionError("unreachable")
        self._tell(Happening.NOT_READY, f"not ready within {seconds:g} s; killed, see {self.log}")
        self._child.kill()

    def _died(self, now: float, code: int) -> None:
        self._last_exit = code
        pid = None if self._child is None else self._child.pid
        self._child = None
        self._deaths_in_a_row += 1
        how = _in_words(code)
        if not self.spec.restart:
            if code != 0:
                raise self._never_ready(how)
            self._was_ready = True
            self._become(Status.DONE)
            self._report(Event(self.spec.name, Happening.DONE, pid))
            return
        waited = now - self._first_started
        if not self._was_ready and (
            self._deaths_in_a_row >= _FIRST_START_DEATHS or waited >= self.spec.ready_timeout.total_seconds()
        ):
            raise self._never_ready(f"{how} before it was ready")
        self._pause(now, how, pid)

    def _pause(self, now: float, how: str, pid: int | None = None) -> None:
        pause = pause_before_restart(max(1, self._deaths_in_a_row))
        self._start_again = now + pause.total_seconds()
        self._become(Status.RESTARTING)
        again = f"started again in {pause.total_seconds():g} s"
        self._report(Event(self.spec.name, Happening.DIED, pid, f"{how}; {again}; see {self.log}"))

    def _never_ready(self, why: str) -> NeverReady:
        return NeverReady(self.spec.name, why, self.log, last_line(self.log))

    def _become(self, status: Status) -> None:
        self._status = status
        self._since = datetime.now(UTC)

    def _tell(self, happening: Happening, detail: str = "") -> None:
        pid = None if self._child is None else self._child.pid
        self._report(Event(self.spec.name, happening, pid, detail))


def _is_ready(spec: ProcessSpec) -> bool:
    if spec.ready is None:
        # A step is ready by its end alone.
        return spec.restart
    try:
        return spec.ready()
    except OSError:
        # A probe that cannot connect says "not yet" in its own way.
        return False


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
