"""What stock kombu still does. Where one of these fails it has caught up, and a part of ours may go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kombu.transport import redis as kombu_redis
from kombu.utils.json import loads

from tests.broker.world import OURS, STOCK, Broker, Consumer

pytestmark = pytest.mark.servers


def test_stock_builds_a_client_for_every_use(broker: Broker) -> None:
    """`workers/broker/one_client.py` keeps one."""
    stock, ours = (broker.connect(kind).channel() for kind in (STOCK, OURS))

    def clients(channel: kombu_redis.Channel) -> set[int]:
        used = []
        for _ in range(2):
            with channel.conn_or_acquire() as client:
                used.append(client)
        return {id(client) for client in used}

    assert len(clients(stock)) == 2
    assert len(clients(ours)) == 1


@pytest.mark.parametrize(("kind", "survive"), [(STOCK, False), (OURS, True)])
def test_stock_pops_before_it_writes_down(
    broker: Broker, kind: Callable[..., object], survive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed between the two loses the message (kombu#305). Ours is in one place or the other."""
    (number,) = broker.publish("a", 1)
    seen: list[list[int]] = []

    def look(self: object, raw: object, **_: object) -> None:
        del self, raw
        seen.append(broker.waiting("a") + broker.unacknowledged())
        raise KeyboardInterrupt

    consumer = Consumer(broker, kind, ["a"])
    # Where a message that has arrived is made of what came from Redis.
    monkeypatch.setattr(kombu_redis.Channel.Message, "__init__", look)
    with pytest.raises(KeyboardInterrupt):
        consumer.drain(1)
    assert seen == [[number] if survive else []]


def test_stock_begins_anew_whenever_somebody_writes(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It watches the hash of all unacknowledged messages (kombu#1568); `giving_back` does not."""
    broker.publish("a", 2)
    stock, ours = (Consumer(broker, kind, ["a"], prefetch=1) for kind in (STOCK, OURS))
    for consumer in (stock, ours):
        consumer.drain(1)
    interrupted: list[str] = []

    def busy(text: str) -> object:
        # Somebody else takes a message in this very moment.
        broker.redis.hset("unacked", f"other-{len(interrupted)}", "[]")
        interrupted.append(text)
        return loads(text)

    monkeypatch.setattr(kombu_redis, "loads", busy)
    monkeypatch.setattr("workers.broker.giving_back.loads", busy)
    ours.channel.qos.restore_by_tag(ours.got[0].delivery_tag)
    assert len(interrupted) == 1

    def give_up(text: str) -> object:
        if len(interrupted) > 4:
            raise ConnectionError("it would never end")
        return busy(text)

    monkeypatch.setattr(kombu_redis, "loads", give_up)
    with pytest.raises(ConnectionError, match="never end"):
        stock.channel.qos.restore_by_tag(stock.got[0].delivery_tag)


@pytest.mark.parametrize(("kind", "backwards"), [(STOCK, True), (OURS, False)])
def test_stock_gives_back_in_the_wrong_order(
    broker: Broker, kind: Callable[..., object], backwards: bool
) -> None:
    """Of what a closed channel gives back, what it had taken first comes last."""
    numbers = broker.publish("a", 3)
    consumer = Consumer(broker, kind, ["a"])
    consumer.drain(3)
    consumer.channel.close()

    assert broker.waiting("a") == (numbers[::-1] if backwards else numbers)
