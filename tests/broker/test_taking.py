"""What our channel takes, in which order, and where it stands from then on."""

from __future__ import annotations

import json

import pytest
import redis

from tests.broker.world import OURS, STOCK, Broker, Consumer, queue
from workers.broker import channel

pytestmark = pytest.mark.servers


def test_what_is_taken_stands_in_unacked_as_kombu_writes_it(broker: Broker) -> None:
    """The publisher's own text, exchange and routing key under the tag; the score is Redis' time."""
    (number,) = broker.publish("a", 1)
    (text,) = broker.redis.lrange("a", 0, -1)
    before = broker.redis.time()
    consumer = Consumer(broker, OURS, ["a"])

    assert consumer.drain(1) == [number]
    ((tag, entry),) = broker.redis.hgetall("unacked").items()
    assert json.loads(entry) == [json.loads(text), "work", "a"]
    assert str(text) in str(entry)
    assert json.loads(text)["properties"]["delivery_tag"] == tag
    score = broker.redis.zscore("unacked_index", tag) or 0
    assert before[0] + before[1] / 1e6 <= score <= broker.redis.time()[0] + 1
    assert broker.waiting("a") == []


def test_stock_writes_the_same(broker: Broker) -> None:
    """The entry of a stock consumer has the same parts, so that either restores the other's."""
    broker.publish("a", 2)
    ours, stock = (Consumer(broker, kind, ["a"], prefetch=1) for kind in (OURS, STOCK))
    ours.drain(1)
    stock.drain(1)

    entries = [json.loads(entry) for entry in broker.redis.hvals("unacked")]
    assert {tuple(entry[0]) for entry in entries} == {tuple(entries[0][0])}
    assert [entry[1:] for entry in entries] == [["work", "a"]] * 2


@pytest.mark.parametrize(("publisher", "consumer"), [(STOCK, OURS), (OURS, STOCK), (OURS, OURS)])
def test_each_side_may_be_stock_or_ours(broker: Broker, publisher: type, consumer: type) -> None:
    """Messages arrive in their order, with their priority, and are gone when they are acknowledged."""
    numbers = broker.publish("a", 4, kind=publisher)
    reader = Consumer(broker, consumer, ["a"])

    assert reader.drain(4) == numbers
    for message in reader.got:
        message.ack()
    assert broker.unacknowledged() == []


def test_the_most_urgent_priority_comes_first(broker: Broker) -> None:
    """Every list of kombu's priority steps is taken from, 0 before 3, 6 and 9, of all queues."""
    late, later = broker.publish("a", 2, priority=9)
    (middle,) = broker.publish("b", 1, priority=4)
    (soon,) = broker.publish("b", 1)

    assert Consumer(broker, OURS, ["a", "b"]).turn() == [soon, middle, late, later]


def test_queues_take_turns(broker: Broker) -> None:
    """A long queue does not hold up a short one; the next look begins where the last one ended."""
    long, short = broker.publish("long", 8), broker.publish("short", 3)
    consumer = Consumer(broker, OURS, ["long", "short"], prefetch=3)

    first = [long[0], short[0], long[1]]
    assert consumer.turn() == first
    for message in consumer.got[:3]:
        message.ack()
    assert consumer.turn() == [*first, short[1], long[2], short[2]]


def test_stock_takes_turns_in_the_same_order(broker: Broker) -> None:
    """The order between queues is kombu's round robin, message by message."""
    broker.publish("long", 5)
    broker.publish("short", 2)
    long, short = broker.waiting("long"), broker.waiting("short")

    assert Consumer(broker, STOCK, ["long", "short"]).drain(4) == [long[0], short[0], long[1], short[1]]


def test_without_turns_the_first_queue_comes_first(redis_url: str) -> None:
    """kombu's `priority` strategy asks a later queue when the earlier are empty."""
    broker = Broker(redis_url, queue_order_strategy="priority")
    first, second = broker.publish("first", 2), broker.publish("second", 2)

    assert Consumer(broker, OURS, ["first", "second"]).turn() == [*first, *second]
    broker.close()


def test_no_more_than_the_prefetch_is_taken(broker: Broker) -> None:
    """Room is what the prefetch leaves; a smaller prefetch lets nothing in until it is kept."""
    numbers = broker.publish("a", 12)
    consumer = Consumer(broker, OURS, ["a"], prefetch=5)

    assert consumer.turn() == consumer.turn() == broker.unacknowledged() == numbers[:5]
    for message in consumer.got[:2]:
        message.ack()
    assert consumer.turn() == numbers[:7]
    consumer.channel.basic_qos(0, 2, False)
    for message in consumer.got[2:5]:
        message.ack()
    assert consumer.turn() == numbers[:7]
    consumer.got[5].ack()
    assert consumer.turn() == numbers[:8]


def test_whoever_counts_for_himself_is_asked_before_each_message(broker: Broker) -> None:
    """Celery does, with `worker_disable_prefetch`: of a large prefetch only what its threads can begin."""
    numbers = broker.publish("a", 4)
    consumer = Consumer(broker, OURS, ["a"], prefetch=16)
    consumer.channel.qos.can_consume = lambda: len(consumer.numbers) < 2

    assert [list(consumer.turn(look=False)) for _ in range(3)] == [numbers[:1], numbers[:2], numbers[:2]]


def test_calls_are_kept_for_few_orders(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many orders of the queues and rooms come up."""
    monkeypatch.setattr(channel, "_MOST_WANTS", 3)
    consumer = Consumer(broker, OURS, ["a", "b"])
    for room in range(1, 9):
        consumer.channel.turn(look=True, most=room)

    assert len(consumer.channel._wants) <= 3


def test_a_consumer_that_does_not_acknowledge_leaves_nothing(broker: Broker) -> None:
    """Such messages are taken for good."""
    numbers = broker.publish("a", 3)

    assert Consumer(broker, OURS, ["a"], no_ack=True).drain(3) == numbers
    assert broker.unacknowledged() == broker.waiting("a") == []


def test_a_single_message_is_taken_in_the_same_way(broker: Broker) -> None:
    """`basic_get` gives one and writes it down in one step, or takes it for good, or gives None."""
    numbers = broker.publish("a", 2)
    single = broker.connect(OURS).channel()
    queue("a")(single).declare()

    message = single.basic_get("a")
    assert (message.decode(), broker.unacknowledged()) == (numbers[0], [numbers[0]])
    message.ack()
    assert single.basic_get("a", no_ack=True).decode() == numbers[1]
    assert (single.basic_get("a"), broker.unacknowledged()) == (None, [])


@pytest.mark.parametrize("key", ["unacked", "unacked_index", "unreadable_messages", "a"])
def test_nothing_is_taken_that_cannot_be_written_down(broker: Broker, key: str) -> None:
    """Where Redis would refuse a write, the message stays in its queue."""
    broker.publish("b", 1)
    consumer = Consumer(broker, OURS, ["a", "b"], prefetch=1)
    broker.redis.set(key, "of another type")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        consumer.turn()
    broker.redis.delete(key)
    assert len(broker.waiting("b")) == 1


def test_a_server_that_has_forgotten_the_scripts_is_told_them(broker: Broker) -> None:
    """After a restart or SCRIPT FLUSH the next turn works as the one before."""
    first, second = broker.publish("a", 2)
    consumer = Consumer(broker, OURS, ["a"], prefetch=1)
    assert consumer.turn() == [first]
    broker.redis.script_flush()
    consumer.got[0].ack()
    broker.redis.script_flush()

    assert consumer.turn() == [first, second]
