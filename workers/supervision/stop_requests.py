"""Requests to stop: SIGINT, SIGTERM, SIGHUP, or a call."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP too: a closed terminal would otherwise leave the children, which have sessions of their own."""


class StopRequests:
    """Counts requests to stop, and wakes whoever waits for one.

    A context manager: handlers are in place inside it, when it is entered by the main thread (Python takes
    signals nowhere else), and the former ones come back afterwards.
    """

    def __init__(self) -> None:
        self._received = 0
        self._over = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._former: dict[signal.Signals, object] = {}

    @property
    def received(self) -> int:
        """How often stopping was asked for: 1 stops, 2 hurries."""
        return self._received

    def ask(self) -> None:
        """Ask to stop; may be called by any thread and inside a signal handler."""
        self._received += 1
        if self._over:
            return
        # A full pipe wakes as well as a byte more.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or at once when stopping is asked for meanwhile."""
        select.select([self._reader], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKING:
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave us before
        # Its numbers may soon name other files; nothing may be written to them.
        self._over = True
        os.close(self._reader)
        os.close(self._writer)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()
