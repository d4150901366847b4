"""Asks for refreshes as another team's service does: Celery tasks by name."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from celery import Celery

from benchmarks.chaos.world import World
from tasks.names import ON_DEMAND, REFRESH_TOKEN


def ask(world: World, dice: Random, *, connections: int, callers: int, force: float) -> dict[str, object]:
    """Ask for refreshes of some connections at once, and wait for none of them.

    Args:
        callers: The most that ask for the same connection.
        force: The share of the asks that are forced.
    """
    asked = 0
    try:
        ids: Sequence[str] = [str(row[0]) for row in world.servers.query("SELECT id FROM connections")]
        with Celery(broker=world.servers.redis.url) as client:
            client.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 3}
            for connection_id in dice.sample(ids, min(connections, len(ids))):
                for _ in range(dice.randint(1, callers)):
                    words = {"connection_id": connection_id, "force": dice.random() < force}
                    client.send_task(REFRESH_TOKEN, kwargs=words, queue=ON_DEMAND, retry=False)
                    asked += 1
    except Exception as error:  # noqa: BLE001 - Postgres or Redis is away: kombu has a dozen names for it
        return {"asked": asked, "ended_by": type(error).__name__}
    return {"asked": asked}
