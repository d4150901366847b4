"""A supervisor in a thread of the test's own process, and a data folder claimed for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.supervision.claim import ClaimedFolder, claim_folder
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import Event, Happening, ProcessState, Status
from workers.supervision.supervisor import Supervisor

ENV = {"PATH": os.environ["PATH"]}
FOREVER = ["sleep", "1000"]


@pytest.fixture
def claimed(data_folder: DataFolder) -> Iterator[ClaimedFolder]:
    with claim_folder(data_folder.path) as folder:
        yield folder


def shell(name: str, script: str, **more: object) -> ProcessSpec:
    return ProcessSpec(name=name, argv=["sh", "-c", script], env=ENV, **more)  # type: ignore[arg-type]  # keywords of one dataclass


class Background:
    """A supervisor in a thread, and what it told."""

    def __init__(
        self, specs: list[ProcessSpec], folder: ClaimedFolder, *, log_limit_bytes: int = 1 << 20
    ) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.supervisor = Supervisor(specs, folder, self.events.append, log_limit_bytes=log_limit_bytes)
        self._thread = threading.Thread(target=self._run)
        self.tick: Callable[[tuple[ProcessState, ...]], None] | None = None

    def _run(self) -> None:
        try:
            self.supervisor.run(self.tick, tick_every=timedelta(milliseconds=20))
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.supervisor.request_stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def state(self, name: str) -> ProcessState:
        return next(state for state in self.supervisor.states() if state.name == name)

    def wait_running(self, name: str) -> int:
        def pid() -> int | None:
            if self.error is not None:
                raise self.error
            state = self.state(name)
            return state.pid if state.status is Status.RUNNING else None

        return eventually(pid, what=f"{name} is running") or 0

    def order_of(self, happening: Happening) -> list[str]:
        return [event.name for event in self.events if event.happening is happening]
