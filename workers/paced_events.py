"""Celery's task events in batches of a tenth of a second, instead of one publication a turn of the loop.

Celery flushes its buffered events whenever its event loop comes round, which under load is after every few
messages; that was a quarter of a worker's time. Whoever watches, Flower for one, sees each event a moment
later, with the time at which it happened.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery, bootsteps

#: How late an event may be seen.
SECONDS: Final = 0.1
#: More than so many are not waited for: a publication stays well below a megabyte.
MOST: Final = 2000


def use_in_worker(app: Celery) -> None:
    """Let the app's worker pace its events."""
    app.steps["consumer"].add(PacedEvents)


class PacedEvents(bootsteps.StartStopStep):
    """Flushes the consumer's event dispatcher from the worker's timer; started anew with each connection."""

    requires = {"celery.worker.consumer.events:Events"}  # noqa: RUF012 - Celery's own way to say it

    def __init__(self, parent: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery publishes no types
        self._entry: Any = None
        super().__init__(parent, **kwargs)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery publishes no types
        """Take over from Celery's own flushing."""
        dispatcher = parent.event_dispatcher
        if parent.hub is None or dispatcher is None:
            # Without an event loop Celery buffers nothing.
            return
        dispatcher.on_send_buffered = None
        dispatcher.buffer_limit = MOST
        self._entry = parent.timer.call_repeatedly(SECONDS, dispatcher.flush)

    def stop(self, parent: Any) -> None:  # noqa: ANN401 - Celery publishes no types
        """Give back to it: the last tasks end when the timer does not run any more."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
        if parent.hub is not None and parent.event_dispatcher is not None:
            parent.event_dispatcher.on_send_buffered = parent.on_send_event_buffered
            parent.on_send_event_buffered()
