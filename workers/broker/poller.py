"""Gives the channels of one connection their turns: from Celery's event loop, or while somebody drains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from time import monotonic
from typing import Any, Final

from kombu.transport import redis

from workers.broker.refusals import Pause, Refused

#: How often empty queues are looked into, in seconds. It is what a message waits for at most in an idle
#: deployment, and costs a worker about a hundredth of a core.
PACE: Final = 0.024
#: The first pause of somebody who drains, in seconds; it doubles up to `PACE`.
_SHORTEST: Final = 0.001
#: How often somebody who drains without an event loop may sweep for overdue messages, in seconds.
_SWEEP_EVERY: Final = 1.0


class Poller(redis.MultiChannelPoller):
    """Polls in place of kombu's blocking pop, which takes a message before anybody has written it down."""

    def __init__(self) -> None:
        super().__init__()
        self._loop: Any = None
        self._tick: Any = None
        self._pace: Any = None
        self._due = True
        self._pause = _SHORTEST
        self._swept = 0.0
        self._refusals = Pause()

    @property
    def gives_turns(self) -> bool:
        """Whether an event loop gives turns, so that acknowledgements may wait for one."""
        return self._loop is not None

    # With an event loop.

    def join(self, loop: Any, on_readable: Any) -> None:  # noqa: ANN401 - kombu publishes no types
        """Take turns on every tick of the loop from now on, and watch the sockets with it."""
        self.leave()

        def tick() -> None:
            self.on_poll_start()
            for descriptor in self._fd_to_chan:
                if descriptor not in loop.readers:
                    loop.add_reader(descriptor, on_readable, descriptor)

        self._loop, self._tick = loop, tick
        loop.on_tick.add(tick)
        # A timer of its own, because the loop has decided how long to sleep before it ticks.
        self._pace = loop.call_repeatedly(PACE, self._mark_due)

    def leave(self) -> None:
        """Take no more turns."""
        if self._loop is not None:
            self._loop.on_tick.discard(self._tick)
            self._pace.cancel()
            self._loop = self._tick = self._pace = None

    def close(self) -> None:
        """Forget all channels."""
        self.leave()
        super().close()

    def _mark_due(self) -> None:
        self._due = True

    def on_poll_start(self) -> None:
        """Give every channel its turn, unless Redis has refused one a moment ago."""
        takes = self._refusals.over
        look, self._due = self._due, False
        with self._cancelling_later():
            for channel in tuple(self._channels):
                if takes:
                    self._give_turn(channel, look=look)
                if channel.active_fanout_queues:
                    self._register_LISTEN(channel)

    def _give_turn(self, channel: Any, *, look: bool) -> None:  # noqa: ANN401 - our channel
        try:
            channel.turn(look=look)
        except Refused as error:
            self._refusals.begin(error)

    # Without one.

    def get(self, callback: Any, timeout: float | None = None) -> None:  # noqa: ANN401 - kombu publishes no types
        """Deliver one event of each channel at most.

        Args:
            callback: Unused: each channel knows its consumers.
            timeout: Seconds; None waits until there is something.

        Raises:
            queue.Empty: There was nothing; the caller asks again.
        """
        del callback
        with self._cancelling_later():
            self.maybe_refresh_binding_expiry()
            delivered, polls = False, False
            for channel in tuple(self._channels):
                if channel.active_fanout_queues:
                    self._register_LISTEN(channel)
                polls = polls or bool(channel.active_queues)
                delivered = channel.turn(look=True, most=1) or delivered
            if delivered or self._read_sockets(timeout, polls=polls):
                self._pause = _SHORTEST
                return
            self._sweep()
            raise Empty

    def _read_sockets(self, timeout: float | None, *, polls: bool) -> bool:
        pause = timeout
        if polls:
            pause = self._pause if timeout is None else min(self._pause, timeout)
            self._pause = min(self._pause * 2, PACE)
        return any(
            self.handle_event(descriptor, event) for descriptor, event in self.poller.poll(pause) or ()
        )

    def _sweep(self) -> None:
        now = monotonic()
        if now - self._swept >= _SWEEP_EVERY:
            self._swept = now
            self.maybe_restore_messages()

    # Sockets.

    def watch(self, channel: Any) -> None:  # noqa: ANN401 - our channel, which is given its turns by this
        """Connect the channel's own connection where it is not, and notice when the server ends it.

        Raises:
            redis.exceptions.ConnectionError: Redis cannot be reached.
        """
        if not self._client_registered(channel, channel.client, "BRPOP"):
            self._register(channel, channel.client, "BRPOP")

    @contextmanager
    def _cancelling_later(self) -> Iterator[None]:
        """Let consumers be cancelled when delivering is over (celery#1773)."""
        self._in_protected_read = True
        try:
            yield
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()
