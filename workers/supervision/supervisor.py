"""Runs processes in order, restarts what dies, and stops all of them when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from workers.supervision.claim import ClaimedFolder
from workers.supervision.logs import rotate
from workers.supervision.managed import Managed
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import Event, Happening, ProcessState
from workers.supervision.stop_requests import StopRequests

_LOOK_EVERY_SECONDS = 0.1
_ROTATION_EVERY_SECONDS = 5.0
_LOG_LIMIT_BYTES = 16 * 1024 * 1024
_HURRY = 2


class Supervisor:
    """Keeps the processes of one claimed data folder running.

    They start in the given order, each awaited one ready before the next. Stopping goes backwards: what
    serves nobody else is asked together, then each server alone.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        folder: ClaimedFolder,
        on_event: Callable[[Event], None],
        *,
        log_limit_bytes: int = _LOG_LIMIT_BYTES,
    ) -> None:
        """Take the specs; nothing is started yet.

        Args:
            specs: In the order of starting; names are unique.
            folder: The claim that `claim_folder` gave; it outlasts `run`.
            on_event: Told everything that happens, by the supervising thread; what it raises is swallowed
                like a display's error.
            log_limit_bytes: A log larger than this is moved to `<name>.log.1`.
        """
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise ValueError(f"process names must be unique: {names}")
        self._on_event = on_event
        self._log_limit_bytes = log_limit_bytes
        self._requests = StopRequests()
        self._display_errors: set[str] = set()
        self._next_rotation = 0.0
        self._tick: Callable[[tuple[ProcessState, ...]], None] | None = None
        self._tick_every = 0.0
        self._next_tick = 0.0
        self._processes = [Managed(spec, folder, position, self._tell) for position, spec in enumerate(specs)]

    def states(self) -> tuple[ProcessState, ...]:
        """Tell where every process stands, in the order of starting."""
        return tuple(process.state() for process in self._processes)

    @property
    def all_ready(self) -> bool:
        """Whether every process has been ready once."""
        return all(process.was_ready for process in self._processes)

    def request_stop(self) -> None:
        """Ask `run` to stop everything and return; a second call hurries it, as a second signal does."""
        self._requests.ask()

    def run(
        self,
        tick: Callable[[tuple[ProcessState, ...]], None] | None = None,
        *,
        tick_every: timedelta = timedelta(milliseconds=250),
    ) -> None:
        """Start everything and keep it running until SIGINT, SIGTERM, SIGHUP or `request_stop`; once only.

        When it returns or raises, no process that it started is left.

        Args:
            tick: Called about every `tick_every`, while starting and stopping too; it should return within
                that time. What it raises is reported as an event and changes nothing.
            tick_every: The pause between two calls of `tick`.

        Raises:
            NeverReady, CannotLaunch, PortInUse: A process could not be started for the first time.
        """
        self._tick = tick
        self._tick_every = tick_every.total_seconds()
        with self._requests as requests:
            try:
                while not requests.received:
                    self._advance()
                    self._pause(requests)
            finally:
                self._stop_all(requests)

    def _advance(self) -> None:
        for process in self._processes:
            process.advance()
            if process.spec.awaited and not process.was_ready:
                break
        if time.monotonic() >= self._next_rotation:
            self._next_rotation = time.monotonic() + _ROTATION_EVERY_SECONDS
            self._rotate_logs()

    def _rotate_logs(self) -> None:
        for process in self._processes:
            try:
                rotate(process.log, self._log_limit_bytes)
            except OSError as error:
                # A full disk must not end the supervision of what still runs on it.
                self._complain(f"log of {process.spec.name}: {error}")

    def _stop_all(self, requests: StopRequests) -> None:
        for wave in _waves_of_stopping(self._processes):
            for process in wave:
                process.begin_stop()
            while True:
                for process in wave:
                    if requests.received >= _HURRY:
                        process.hurry()
                    process.advance_stop()
                if all(process.gone for process in wave):
                    break
                self._pause(requests)

    def _pause(self, requests: StopRequests) -> None:
        """Let the display have its turn, then wait for the next look, or for a request to stop."""
        tick = self._tick
        if tick is not None and time.monotonic() >= self._next_tick:
            self._shielded(lambda: tick(self.states()))
            self._next_tick = time.monotonic() + self._tick_every
        requests.wait(_LOOK_EVERY_SECONDS)

    def _tell(self, event: Event) -> None:
        self._shielded(lambda: self._on_event(event))

    def _complain(self, what: str) -> None:
        if what not in self._display_errors:
            self._display_errors.add(what)
            self._tell(Event("", Happening.DISPLAY_FAILED, None, what))

    def _shielded(self, show: Callable[[], None]) -> None:
        """Run a caller's callback; whatever it raises, the processes stay supervised."""
        try:
            show()
        except Exception as error:  # noqa: BLE001 - the display is not worth a single worker
            self._complain(f"{type(error).__name__}: {error}")


def _waves_of_stopping(processes: Sequence[Managed]) -> list[list[Managed]]:
    """Group the processes for stopping: last started first, servers of others alone."""
    waves: list[list[Managed]] = []
    together = False
    for process in reversed(processes):
        if process.spec.serves_others or not together:
            waves.append([process])
        else:
            waves[-1].append(process)
        together = not process.spec.serves_others
    return waves
