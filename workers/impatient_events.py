"""Celery's events without Celery's patience: a broker that hangs must not hold a worker's loop.

Celery lets a worker's heartbeat retry for as long as the broker is away, inside the event loop: nothing
else happens there meanwhile, SIGTERM included, and the connection is not made anew.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

#: After a failure nothing is published for so many seconds.
PAUSE: Final = 10.0


class ImpatientDispatcher(EventDispatcher):
    """Tries once to publish an event, and keeps what failed for the next time."""

    _failed = -PAUSE

    @property
    def _pauses(self) -> bool:
        return bool(self.buffer_while_offline) and monotonic() < self._failed + PAUSE

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Publish what is kept, unless that has failed a moment ago."""
        if not self._pauses:
            super().flush(errors, groups)

    def _publish(self, event: Any, producer: Any, routing_key: str, **options: Any) -> Any:  # noqa: ANN401 - Celery publishes no types
        if self._pauses:
            # A hung broker takes a socket timeout for each, also while the worker is told to stop.
            self._outbound_buffer.append((event, routing_key))
            return None
        kept = len(self._outbound_buffer)
        published = super()._publish(event, producer, routing_key, **{**options, "retry": False})
        if len(self._outbound_buffer) > kept:
            self._failed = monotonic()
        return published


class ImpatientEvents(Events):
    """What a Celery app makes its dispatchers with: `Celery(events=ImpatientEvents)`."""

    dispatcher_cls = ImpatientDispatcher
