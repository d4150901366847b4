"""How workers and beat show that they live: each touches its file from its own loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.beat import Scheduler

from workers.signs_of_life import EVERY


def use_in_worker(app: Celery, path: Path) -> None:
    """Let the app's worker touch the file from its event loop."""

    class Heartbeat(bootsteps.StartStopStep):
        """Touches the file from the worker's timer, which its event loop drives."""

        requires = {"celery.worker.components:Timer"}  # noqa: RUF012 - Celery's own way to say it

        def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery publishes no types
            path.touch()
            self._entry = parent.timer.call_repeatedly(EVERY.total_seconds(), path.touch)

        def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery publishes no types
            del parent
            self._entry.cancel()
            path.unlink(missing_ok=True)

    app.steps["worker"].add(Heartbeat)


class BeatingScheduler(Scheduler):
    """Celery's in-memory scheduler, which shows its life at every tick that reached the broker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery publishes no types
        super().__init__(*args, **kwargs)
        self._alive = Path(self.app.conf.evergrant_beat_heartbeat)
        self._touched = 0.0

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Celery publishes no types
        """Send a due entry's task; only what really left counts as life."""
        sent = super().apply_async(*args, **kwargs)
        now = time.monotonic()
        if now - self._touched >= 1:
            self._alive.touch()
            self._touched = now
        return sent
