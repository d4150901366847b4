"""A channel of kombu's Redis transport that takes and acknowledges in batches, atomically."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from queue import Empty
from typing import Any, Final

import structlog
from kombu.transport import redis
from kombu.utils.json import loads
from kombu.utils.scheduling import priority_cycle
from redis.exceptions import RedisError

from workers.broker.bindings import KeptBindings
from workers.broker.giving_back import give_back, set_aside
from workers.broker.one_client import OneClient
from workers.broker.qos import QoS, keep, room_of
from workers.broker.refusals import telling_refusals
from workers.broker.taking import MOST_ACKNOWLEDGED, MOST_TAKEN, NOTHING, Places, Taken, Wanted, take

log = structlog.get_logger(__name__)

#: The list of what was set aside because nobody could read it.
ASIDE: Final = "unreadable_messages"
#: Calls that are kept packed; four queues in every order and at every room come to about two hundred.
_MOST_WANTS: Final = 500


class Channel(KeptBindings, OneClient, redis.Channel):
    """Takes messages from its queues' lists when it is given a turn.

    One thread gives the turns. Others may acknowledge meanwhile.
    """

    QoS = QoS

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - kombu publishes no types
        #: Tags that Redis has not been told of yet.
        self._owed: deque[str] = deque()
        #: Taken and not delivered yet: only while a turn lasts, or after one that broke off.
        self._held: deque[Taken] = deque()
        #: Queues whose messages nobody acknowledges.
        self._untracked: set[str] = set()
        #: By the order of the queues and the room: few of each come up.
        self._wants: dict[tuple[tuple[str, ...], int], Wanted] = {}
        #: Whether the last look found all it had room for.
        self._more = True
        super().__init__(*arguments, **options)

    # Taking.

    def turn(self, *, look: bool, most: int = MOST_TAKEN) -> bool:
        """Acknowledge what is owed, take what there is room for, and deliver it. Says whether it delivered.

        Args:
            look: Ask although the queues were empty the last time.

        Raises:
            Refused: Redis answers, but would not do it. What was owed is still owed.
            redis.exceptions.RedisError: What was owed is still owed.
        """
        queues = self._queue_cycle.consume(len(self._active_queues)) if self._active_queues else ()
        room = room_of(self.qos, most) if queues else 0
        if not self._held and (self._owed or (room and (look or self._more))):
            connection = self._connection_for_turns()
            with telling_refusals():
                self._held += self._call(connection, self._wanted(queues, room) if room else NOTHING)
            if room:
                self._more = len(self._held) >= room
        return self._deliver_held()

    def _call(self, connection: Any, wanted: Wanted) -> list[Taken]:  # noqa: ANN401 - redis-py's connection
        owed: list[str] = []
        with suppress(IndexError):
            # Another thread may send the last one meanwhile.
            while len(owed) < MOST_ACKNOWLEDGED:
                owed.append(self._owed.popleft())
        try:
            return take(connection, self.places, wanted, owed)
        except BaseException:
            # Also when it is interrupted: an acknowledgement may be sent twice, but not forgotten.
            self._owed.extendleft(reversed(owed))
            raise

    def _wanted(self, queues: Sequence[str], room: int) -> Wanted:
        order = tuple(dict.fromkeys(queues))
        wanted = self._wants.get((order, room))
        if wanted is None:
            if len(self._wants) >= _MOST_WANTS:
                self._wants.clear()
            steps, prefix = self.priority_steps, self.global_keyprefix
            lists = [prefix + self._q_for_pri(queue, step) for step in steps for queue in order]
            fair = not isinstance(self._queue_cycle, priority_cycle)
            tracked = [self.ack_emulation and queue not in self._untracked for queue in order]
            wanted = self._wants[order, room] = Wanted(room, order, lists, fair, tracked)
        return wanted

    def _deliver_held(self) -> bool:
        delivered = False
        callbacks = self.connection._callbacks  # noqa: SLF001 - where kombu keeps them
        while self._held and not self.closed:
            taken = self._held.popleft()
            self._queue_cycle.rotate(taken.queue)
            message = self._message(taken)
            if message is None:
                continue
            delivered = True
            if taken.queue in callbacks:
                callbacks[taken.queue](message)
            else:
                # Its consumer went away in a turn that broke off before.
                self.give_back([taken.tag])
        return delivered

    def _message(self, taken: Taken) -> Any:  # noqa: ANN401 - a kombu message
        """Read what was taken; None for what cannot be read, which is out of the way by then."""
        if taken.text is None:
            log.warning("message_set_aside", queue=taken.queue, list=ASIDE, reason="no tag, or no JSON")
            return None
        try:
            # The hook for kombu's own types calls Python for every object in the text.
            read = loads if b"__type__" in taken.text else json.loads
            return self.Message(read(taken.text), channel=self)
        except Exception:  # noqa: BLE001 - a text decides what it raises: RecursionError, decimal.InvalidOperation
            log.warning("message_set_aside", queue=taken.queue, list=ASIDE, reason="unreadable")
        with self.borrowed_connection() as connection:
            set_aside(connection, self.places, taken)
        return None

    def _connection_for_turns(self) -> Any:  # noqa: ANN401 - redis-py's connection
        self.connection.cycle.watch(self)
        return self.client.connection

    # Consumers.

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **options: Any,  # noqa: ANN401 - kombu publishes no types
    ) -> None:
        """Consume from a queue; the next turn looks into it."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **options)
        if queue in self.active_fanout_queues:
            return
        (self._untracked.add if no_ack else self._untracked.discard)(queue)
        self._wants.clear()
        self._more = True
        callbacks = self.connection._callbacks  # noqa: SLF001 - where kombu keeps them
        callbacks[queue] = partial(self._hand_over, callback, callbacks[queue], no_ack)

    def _hand_over(
        self,
        callback: Callable[[Any], Any],
        stock: Callable[[Any], Any],
        no_ack: bool,
        given: Any,  # noqa: ANN401 - what a turn has taken, or the payload of something else
    ) -> None:
        if not isinstance(given, self.Message):
            stock(given)
            return
        if not no_ack:
            keep(self.qos, given)
        callback(given)

    def _basic_cancel(self, consumer_tag: str) -> None:
        consumed = bool(self._active_queues)
        super()._basic_cancel(consumer_tag)
        if consumed and not self._active_queues and self._owed and not self.closed:
            # A worker that stops takes no turns any more, and may still wait for its tasks for long. Failing
            # would only make it cancel and wait again; closing is the next to try.
            with suppress(RedisError, OSError):
                self._flush()

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:  # noqa: ANN401 - a kombu message
        """Take one message of a queue, or give None."""
        wanted = replace(self._wanted((queue,), 1), tracked=[self.ack_emulation and not no_ack], packed=None)
        with self.borrowed_connection() as connection:
            taken = self._call(connection, wanted)
        with self.conn_or_acquire() as client:
            self._maybe_update_queues_expire(client, queue)
        for message in filter(None, map(self._message, taken)):
            if not no_ack:
                keep(self.qos, message)
            return message
        return None

    # Settling.

    def owe(self, tag: str) -> None:
        """Acknowledge a message with the next turn; now, where nobody gives this channel turns.

        Raises:
            redis.exceptions.RedisError: It could not be sent now. It is still owed.
        """
        self._owed.append(tag)
        if self.closed or not self.connection.cycle.gives_turns:
            self._flush()

    def give_back(self, tags: Sequence[str], *, leftmost: bool = False) -> None:
        """Put messages back into their queues; see `workers.broker.giving_back`."""
        give_back(self, tags, leftmost=leftmost)

    def queues_of(self, exchange: str, routing_key: str) -> list[str]:
        """Give the queues that a message belongs to by kombu's tables; empty when none is known."""
        return [queue for queue in self._lookup(exchange, routing_key) if queue]

    def priority_of(self, payload: dict[str, Any]) -> int:
        """Give a message's priority as kombu reads it.

        Raises:
            OverflowError: It is no number that an int can be.
        """
        return int(self._get_message_priority(payload, reverse=False))

    def list_of(self, queue: str, priority: int) -> str:
        """Give the key of the list in which messages of a priority wait."""
        return str(self.global_keyprefix + self._q_for_pri(queue, priority))

    def close(self) -> None:
        """Acknowledge what is owed, put back what was not done, and close.

        Where Redis does not answer, what was taken comes back after the visibility timeout.
        """
        if self.closed:
            return
        self._settle()
        pool = self.pool
        super().close()
        # Tasks that are under way acknowledge late, over connections that are opened for it.
        self._pool = pool

    def _settle(self) -> None:
        held, self._held = [message.tag for message in self._held if message.tag], deque()
        try:
            self._flush()
            if self.ack_emulation and self.do_restore:
                # The first one pushed is the last one taken again, and what is delivered is older.
                self.give_back(held)
                if self._qos is not None:
                    self._qos.restore_unacked_once()
        except (RedisError, OSError) as error:
            log.warning("messages_left_unacknowledged", error=type(error).__name__)
            self.do_restore = False

    def _flush(self) -> None:
        while self._owed:
            with self.borrowed_connection() as connection:
                self._call(connection, NOTHING)

    @contextmanager
    def borrowed_connection(self) -> Iterator[Any]:
        """Lend a connection of the channel's pool."""
        pool = self.pool
        connection = pool.get_connection()
        try:
            yield connection
        finally:
            if self.closed:
                connection.disconnect()
            pool.release(connection)

    @property
    def places(self) -> Places:
        """Where unacknowledged messages of this broker are."""
        places: Places | None = self.__dict__.get("_places")
        if places is None:
            prefix = self.global_keyprefix
            places = self.__dict__["_places"] = Places(
                prefix + self.unacked_key, prefix + self.unacked_index_key, prefix + ASIDE
            )
        return places

    # What kombu would call for its blocking pop.

    def _brpop_read(self, **_: Any) -> None:  # noqa: ANN401 - kombu's own way
        # Between two turns nothing is expected: the server has ended the connection. The next turn opens one.
        self.client.connection.disconnect()
        raise Empty

    def _poll_error(self, type: str, **options: Any) -> None:  # noqa: A002, ANN401 - kombu's own names
        if type == "BRPOP":
            self.client.connection.disconnect()
        else:
            super()._poll_error(type, **options)
