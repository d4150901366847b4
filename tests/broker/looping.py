"""kombu's event loop in a thread of the test's own process, with our transport in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from kombu.asynchronous import Hub

from tests.broker.world import OURS, Broker, Consumer


class Looping(Consumer):
    """A consumer whose turns are given by an event loop.

    Attributes:
        hub: The loop; `call_soon` is how a worker's threads acknowledge.
        arrived: Every message, as it is delivered.
    """

    def __init__(self, broker: Broker, names: list[str], *, prefetch: int) -> None:
        self.arrived: SimpleQueue[Any] = SimpleQueue()
        super().__init__(broker, OURS, names, prefetch=prefetch)
        self.hub = Hub()
        self.connection.transport.register_with_event_loop(self.connection.connection, self.hub)
        self._thread = threading.Thread(target=self.hub.run_forever)

    def _keep(self, message: Any) -> None:
        super()._keep(message)
        self.arrived.put(message)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hub.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.hub.close()

    def soon(self, call: Callable[..., Any]) -> None:
        """Let the loop's own thread call something, as a worker's threads do."""
        self.hub.call_soon(call)
