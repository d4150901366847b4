"""One redis-py client a channel.

kombu builds a client for every command it sends. Building one costs more than most commands do: an eighth of
a busy worker's time, in a case-insensitive copy of redis-py's table of reply parsers.
`tests/workers/broker/test_upstream.py` says when kombu no longer does.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class OneClient(redis.Channel):
    """A channel that keeps the client of its pool. Threads may share a client, as they share its pool."""

    _pooled_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401 - a redis-py client
        if asynchronous:
            # These hold a connection of their own.
            return super()._create_client(asynchronous=True)
        client = self._pooled_client
        # The pool is replaced after a fork, and when the channel is closed.
        if client is None or client.connection_pool is not self._pool:
            client = self._pooled_client = super()._create_client()
        return client
