"""How messages are acknowledged, and how those go back that were not."""

from __future__ import annotations

import json

import pytest
import redis

from tests.broker.looping import Looping
from tests.broker.world import OURS, STOCK, Broker, Consumer
from tests.support.waiting import eventually
from workers.broker import poller

pytestmark = pytest.mark.servers


@pytest.fixture
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let empty queues be looked into so seldom that nothing in a test comes of it."""
    monkeypatch.setattr(poller, "PACE", 3600.0)


def calls(broker: Broker, command: str) -> int:
    """Give how often a command was called at the server."""
    return int(broker.redis.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def test_without_a_loop_acknowledgements_are_sent_at_once(broker: Broker) -> None:
    """Somebody who drains by hand may never come back."""
    broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.drain(1)

    consumer.got[0].ack()
    assert broker.unacknowledged() == []


@pytest.mark.usefixtures("rarely")
def test_a_finished_task_wakes_the_loop(broker: Broker) -> None:
    """What a thread acknowledges is carried by the call that takes the next message, at once.

    A loop that slept until its next timer would need a second for each.
    """
    numbers = broker.publish("a", 120)
    with Looping(broker, ["a"], prefetch=1) as consumer:

        def settled() -> bool:
            unacknowledged = broker.unacknowledged()
            assert len(unacknowledged) <= 1
            while not consumer.arrived.empty():
                consumer.soon(consumer.arrived.get().ack)
            return len(consumer.numbers) == len(numbers) and not unacknowledged

        eventually(settled, seconds=len(numbers) / 3, what="all are done")
    assert consumer.numbers == numbers


@pytest.mark.usefixtures("rarely")
def test_acknowledgements_and_the_next_messages_share_a_call(broker: Broker) -> None:
    """One script for as many as were done; kombu needs three commands for each."""
    numbers = broker.publish("a", 16)
    consumer = Consumer(broker, OURS, ["a"], prefetch=8)
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    before = calls(broker, "evalsha")
    for message in consumer.got:
        message.ack()
    assert broker.unacknowledged() == numbers[:8]

    consumer.turn(look=False)
    assert broker.unacknowledged() == numbers[8:]
    assert calls(broker, "evalsha") == before + 1


class _NoLoop:
    """Stands for an event loop whose turns the test gives itself."""

    def __init__(self) -> None:
        self.on_tick: set[object] = set()
        self.readers: dict[int, object] = {}

    def call_repeatedly(self, *_: object) -> _NoLoop:
        return self

    def cancel(self) -> None:
        """As a timer's entry."""


@pytest.mark.usefixtures("rarely")
def test_a_full_window_is_acknowledged_all_the_same(broker: Broker) -> None:
    """Where nothing may be taken, what is owed is sent by itself."""
    numbers = broker.publish("a", 4)
    consumer = Consumer(broker, OURS, ["a"], prefetch=3)
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    consumer.channel.basic_qos(0, 1, False)
    consumer.got[0].ack()

    consumer.turn(look=False)
    assert (broker.unacknowledged(), broker.waiting("a")) == (numbers[1:3], numbers[3:])


def test_closing_acknowledges_what_is_owed_and_gives_back_the_rest(broker: Broker) -> None:
    """In the old order and before what waits, marked as redelivered, for stock and ours alike."""
    numbers = broker.publish("a", 6)
    consumer = Consumer(broker, OURS, ["a"], prefetch=4)
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    consumer.got[1].ack()
    consumer.channel.close()

    back = [numbers[0], *numbers[2:]]
    assert (broker.waiting("a"), broker.unacknowledged()) == (back, [])
    stock = Consumer(broker, STOCK, ["a"])
    assert stock.drain(5) == back
    assert [message.delivery_info.get("redelivered", False) for message in stock.got] == [True] * 3 + [
        False
    ] * 2


def test_rejecting_drops_and_requeueing_puts_behind(broker: Broker) -> None:
    """As kombu does it."""
    numbers = broker.publish("a", 3)
    consumer = Consumer(broker, OURS, ["a"], prefetch=2)
    consumer.turn()
    consumer.got[0].reject()
    consumer.got[1].requeue()

    assert (broker.waiting("a"), broker.unacknowledged()) == ([numbers[2], numbers[1]], [])


@pytest.mark.parametrize(("taker", "sweeper"), [(OURS, STOCK), (STOCK, OURS), (OURS, OURS)])
def test_either_restores_what_the_other_left(broker: Broker, taker: type, sweeper: type) -> None:
    """What a consumer that died without a word left in `unacked` comes back by anybody's sweep."""
    numbers = broker.publish("a", 5)
    dead = Consumer(broker, taker, ["a"], prefetch=3)
    dead.drain(3)
    other = Broker(broker.url, visibility_timeout=0)
    alive = Consumer(other, sweeper, ["a"])
    alive.channel.qos.restore_visible(num=None, interval=1)

    assert sorted(broker.waiting("a")) == numbers
    assert broker.unacknowledged() == []
    # Acknowledging what has gone back changes nothing, and closing brings nothing twice.
    dead.got[0].ack()
    dead.channel.close()
    assert sorted(broker.waiting("a")) == numbers
    other.close()


def test_what_is_not_overdue_stays(broker: Broker) -> None:
    """The sweep leaves alone what somebody has just taken."""
    numbers = broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.drain(1)
    consumer.channel.qos.restore_visible(num=None, interval=1)

    assert (broker.unacknowledged(), broker.waiting("a")) == (numbers, [])


def test_a_message_of_no_known_queue_is_set_aside(broker: Broker) -> None:
    """Where the bindings are lost, stock kombu drops what it restores."""
    broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.drain(1)
    broker.redis.delete("_kombu.binding.work")
    consumer.channel.close()

    assert broker.unacknowledged() == broker.waiting("a") == []
    assert [json.loads(text)["headers"]["redelivered"] for text in broker.aside()] == [True]


def test_a_lost_connection_forgets_no_acknowledgement(broker: Broker) -> None:
    """A call that failed is still owed; the next one, over a new connection, carries it."""
    numbers = broker.publish("a", 3)
    consumer = Consumer(broker, OURS, ["a"], prefetch=2)
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    consumer.got[0].ack()
    broker.redis.client_kill_filter(_type="normal", skipme=True)

    with pytest.raises(redis.ConnectionError):
        consumer.turn()
    assert consumer.turn() == numbers
    assert broker.unacknowledged() == numbers[1:]


def test_an_idle_connection_that_the_server_ends_is_opened_again(broker: Broker) -> None:
    """The loop notices the end of the connection, and nobody else does."""
    first = broker.publish("a", 1)
    with Looping(broker, ["a"], prefetch=10) as consumer:
        consumer.arrived.get(timeout=30)
        mine = consumer.channel.client.connection
        address = "{}:{}".format(*mine._sock.getsockname())
        eventually(lambda: broker.redis.client_kill_filter(addr=address), what="it is killed")
        second = broker.publish("a", 1)
        consumer.arrived.get(timeout=30)
    assert consumer.numbers == [*first, *second]


def test_closing_where_redis_refuses_ends_nobody(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and what was taken is still written down and comes back when it is overdue."""
    numbers = broker.publish("a", 3)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    consumer.got[0].ack()

    def refused(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(redis.ConnectionPool, "get_connection", refused)
    consumer.channel.close()
    monkeypatch.undo()
    assert broker.unacknowledged() == numbers
    assert consumer.channel.closed


def test_cancelling_where_redis_refuses_is_not_repeated(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopping worker cancels more than once. What could not be sent is sent by closing."""
    broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.connection.transport.cycle.join(_NoLoop(), None)
    consumer.turn()
    consumer.got[0].ack()
    asked: list[object] = []

    def refused(*_: object, **__: object) -> None:
        asked.append(None)
        raise redis.ConnectionError

    monkeypatch.setattr(redis.ConnectionPool, "get_connection", refused)
    consumer._consumer.cancel()
    consumer._consumer.cancel()
    monkeypatch.undo()
    assert len(asked) == 1
    consumer.channel.close()
    assert broker.unacknowledged() == broker.waiting("a") == []


def test_a_task_that_ends_after_its_channel_acknowledges_late(broker: Broker) -> None:
    """Its message could not go back when the connection was lost, and need not come again."""
    broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])
    consumer.turn()
    consumer.channel.do_restore = False
    consumer.channel.close()
    consumer.got[0].ack()

    assert broker.unacknowledged() == []
