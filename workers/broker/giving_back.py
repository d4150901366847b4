"""Unacknowledged messages go back to their queues."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from kombu.utils.json import dumps, loads

from workers.broker.scripts import give_back_script
from workers.broker.taking import KEPT_ASIDE, Places, Taken

log = structlog.get_logger(__name__)

#: Messages that one call carries.
_MOST: Final = 200


def give_back(channel: Any, tags: Sequence[str], *, leftmost: bool = False) -> None:  # noqa: ANN401 - our channel, which imports this
    """Put messages back into their queues, marked as redelivered.

    kombu watches the whole hash of unacknowledged messages while it does this one by one, and begins anew
    whenever anybody writes to it, which may have no end under load (kombu#1568). Here each message moves if
    it is still there, in one step.

    Args:
        channel: Knows where each belongs, by kombu's own tables.
        tags: In the order in which they are to be taken again.
        leftmost: Behind everything that waits, instead of before it.

    Raises:
        redis.exceptions.RedisError: Those not moved stay unacknowledged until the visibility timeout.
    """
    # The last one pushed to the right is the first one taken.
    ordered = list(tags) if leftmost else list(reversed(tags))
    for at in range(0, len(ordered), _MOST):
        _move(channel, ordered[at : at + _MOST], "LPUSH" if leftmost else "RPUSH")


def set_aside(connection: Any, places: Places, message: Taken) -> None:  # noqa: ANN401 - redis-py's connection
    """Move a message that was taken and cannot be read out of the way, into the bounded list for it."""
    arguments = ("LPUSH", KEPT_ASIDE, _as_stored(message.tag), message.text, "")
    give_back_script.run(connection, _keys(places), arguments)


def _move(channel: Any, tags: Sequence[str], push: str) -> None:  # noqa: ANN401 - our channel
    stored = [_as_stored(tag) for tag in tags]
    with channel.borrowed_connection() as connection:
        connection.send_command("HMGET", channel.places.unacked, *stored)
        values = connection.read_response()
    keys: dict[str, int] = {name: at for at, name in enumerate(_keys(channel.places), 1)}
    routes: dict[tuple[str, str], list[str]] = {}
    arguments: list[str | bytes | int] = [push, KEPT_ASIDE]
    for tag, value in zip(stored, values, strict=True):
        if value is None:
            arguments += [tag, b"", "-"]
            continue
        text, lists = _readdressed(channel, value, routes)
        if not lists:
            log.warning("message_set_aside", list=channel.places.aside, reason="no queue is known for it")
        places = [keys.setdefault(name, len(keys) + 1) for name in lists]
        arguments += [tag, text, ",".join(map(str, places))]
    with channel.borrowed_connection() as connection:
        give_back_script.run(connection, tuple(keys), arguments)


def _readdressed(
    channel: Any,  # noqa: ANN401 - our channel
    value: bytes | str,
    routes: dict[tuple[str, str], list[str]],
) -> tuple[str | bytes, list[str]]:
    """Give a message's text, marked as redelivered, and the keys of the lists that it belongs to."""
    try:
        payload, exchange, routing_key = loads(value)
        with suppress(KeyError):
            # Without headers nobody looks for the mark.
            payload["headers"]["redelivered"] = True
            payload["properties"]["delivery_info"]["redelivered"] = True
        text, priority = dumps(payload), channel.priority_of(payload)
        known = (exchange, routing_key) in routes
    except Exception:  # noqa: BLE001 - a text decides what it raises, and must not keep the others from going back
        return value, []
    if not known:
        routes[exchange, routing_key] = channel.queues_of(exchange, routing_key)
    return text, [channel.list_of(queue, priority) for queue in routes[exchange, routing_key]]


def _as_stored(tag: str) -> bytes:
    """Give a tag as Redis has it, which need not be UTF-8."""
    return tag.encode("utf-8", "surrogateescape")


def _keys(places: Places) -> tuple[str, str, str]:
    return places.unacked, places.index, places.aside
