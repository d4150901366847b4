"""One call to Redis: acknowledges what is done and takes what there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.broker.scripts import take_script

#: How many messages that cannot be read are kept for a person to look at; the oldest give way.
KEPT_ASIDE: Final = 1000
#: Acknowledgements that one call carries. Lua unpacks at most some thousands at once.
MOST_ACKNOWLEDGED: Final = 5000
#: Messages that one call takes where the prefetch is not bounded.
MOST_TAKEN: Final = 100


@dataclass(frozen=True, slots=True)
class Places:
    """Keys that kombu's Redis transport keeps unacknowledged messages under, and ours beside them."""

    unacked: str
    index: str
    aside: str


@dataclass(slots=True)
class Wanted:
    """From where to take, and how many. Kept and used again by whoever takes.

    Attributes:
        room: At most so many messages; 0 only acknowledges.
        queues: In the order in which they are asked.
        lists: Every queue's list of the most urgent priority, then of the next.
        fair: The queues take turns; else a later one is asked when the earlier are empty.
        tracked: Of each queue, whether its messages wait in `unacked` until they are acknowledged.
        packed: The call that only takes, as it was sent the first time. Looking into empty queues is most of
            what an idle worker does.
    """

    room: int
    queues: Sequence[str]
    lists: Sequence[str]
    fair: bool
    tracked: Sequence[bool]
    packed: Any = None


#: Takes nothing, and only acknowledges.
NOTHING: Final = Wanted(0, (), (), fair=True, tracked=())


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is ours until it is acknowledged or given back.

    Attributes:
        text: As the publisher wrote it; None for one without a tag or a route, which was set aside.
    """

    queue: str
    tag: str
    text: bytes | None


def take(connection: Any, places: Places, wanted: Wanted, acknowledged: Sequence[str]) -> list[Taken]:  # noqa: ANN401 - redis-py's connection
    """Acknowledge and take in one atomic step, in the order in which the messages are to be delivered.

    What is taken stands in `unacked` in kombu's own form, with Redis' time: whoever restores compares with
    one clock, and no worker's clock decides when another's messages are overdue (kombu#305).

    Args:
        acknowledged: At most `MOST_ACKNOWLEDGED` tags.

    Raises:
        redis.exceptions.RedisError: It may have been done all the same. Acknowledging again is harmless;
            what was taken comes back after the visibility timeout.
    """
    keys = (places.unacked, places.index, places.aside, *wanted.lists)
    tracked = "".join("1" if tracked else "0" for tracked in wanted.tracked)
    arguments = (wanted.room, len(wanted.queues), int(wanted.fair), tracked, KEPT_ASIDE, *acknowledged)
    if not acknowledged and wanted.packed is None:
        wanted.packed = take_script.pack(connection, keys, arguments)
    packed = None if acknowledged else wanted.packed
    reply = take_script.run(connection, keys, arguments, packed=packed)
    taken = []
    for at in range(0, len(reply), 3):
        place, tag, text = reply[at : at + 3]
        queue = wanted.queues[abs(place) - 1]
        taken.append(Taken(queue, _as_text(tag), _as_bytes(text) if place > 0 else None))
    return taken


def _as_text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _as_bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
