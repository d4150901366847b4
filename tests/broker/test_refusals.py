"""A Redis that answers and refuses: nothing ends, nothing spins, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import pytest
import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from tests.broker.looping import Looping
from tests.broker.test_settling import calls
from tests.broker.world import OURS, Broker, Consumer, queue
from tests.support.waiting import eventually
from workers.broker import qos, refusals
from workers.broker.refusals import Refused, code_of, telling_refusals

SECRET = "what-must-not-be-quoted"


@pytest.mark.servers
def test_a_refused_loop_goes_on_when_redis_does(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery would end a worker for it. It is said once, and what was acknowledged is still owed."""
    log = Mock()
    monkeypatch.setattr(refusals, "log", log)
    monkeypatch.setattr(refusals, "PAUSE", 0.01)
    first = broker.publish("a", 1)
    with Looping(broker, ["a"], prefetch=10) as consumer:
        message = consumer.arrived.get(timeout=30)
        stored = broker.redis.hgetall("unacked")
        broker.redis.delete("unacked")
        broker.redis.set("unacked", SECRET)
        second = broker.publish("a", 1)
        consumer.soon(message.ack)
        before = calls(broker, "evalsha")
        eventually(lambda: calls(broker, "evalsha") > before + 3, what="it has asked again")
        broker.redis.delete("unacked")
        for tag, entry in stored.items():
            broker.redis.hset("unacked", tag, entry)
        consumer.arrived.get(timeout=30)
    assert consumer.numbers == [*first, *second]
    assert broker.unacknowledged() == second
    log.warning.assert_called_once_with("broker_refuses", code="WRONGTYPE")


@pytest.mark.servers
def test_a_refused_loop_sleeps(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the pause is over nothing is asked, however often the loop comes round."""
    monkeypatch.setattr(refusals, "PAUSE", 3600.0)
    consumer = Consumer(broker, OURS, ["a"])
    poller = consumer.connection.transport.cycle
    turns = Mock(side_effect=Refused("NOREPLICAS"))
    monkeypatch.setattr(consumer.channel, "turn", turns)
    for _ in range(5):
        poller.on_poll_start()

    turns.assert_called_once()


@pytest.mark.servers
def test_a_sweep_that_is_refused_ends_nobody(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis without memory refuses the sweep's lock, and Celery sweeps where a worker starts."""
    log = Mock()
    monkeypatch.setattr(qos, "log", log)
    consumer = Consumer(broker, OURS, ["a"])
    allowed = str(broker.redis.config_get("maxmemory")["maxmemory"])
    broker.redis.config_set("maxmemory", 1)
    try:
        consumer.channel.qos.restore_visible(num=None, interval=1)
    finally:
        broker.redis.config_set("maxmemory", allowed)

    log.warning.assert_called_once_with("sweep_refused", code="OutOfMemoryError")


@pytest.mark.servers
@pytest.mark.parametrize("setting", ["min-replicas-to-write", "maxmemory"])
def test_a_queue_that_is_bound_already_may_be_declared(broker: Broker, setting: str) -> None:
    """By a worker that starts where Redis refuses writes; one that is not bound may not."""
    broker.publish("a", 3)
    channel = broker.connect(OURS).channel()
    allowed = str(broker.redis.config_get(setting)[setting])
    broker.redis.config_set(setting, 1)
    try:
        queue("a")(channel).declare()
        assert channel.queue_declare("a").message_count == 3
        with pytest.raises(ResponseError):
            queue("b")(channel).declare()
    finally:
        broker.redis.config_set(setting, allowed)


@pytest.mark.servers
def test_a_redis_without_memory_is_emptied(broker: Broker) -> None:
    """Taking and acknowledging go on: a script that has begun with removing is not refused what follows."""
    numbers = broker.publish("a", 2)
    consumer = Consumer(broker, OURS, ["a"], prefetch=1)
    allowed = str(broker.redis.config_get("maxmemory")["maxmemory"])
    broker.redis.config_set("maxmemory", 1)
    try:
        consumer.turn()
        consumer.got[0].ack()
        assert consumer.turn() == numbers
        consumer.got[1].requeue()
        assert broker.waiting("a") == numbers[1:]
    finally:
        broker.redis.config_set("maxmemory", allowed)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (ReadOnlyError("You can't write against a read only replica."), redis.ConnectionError),
        (OutOfMemoryError("command not allowed"), Refused),
        (
            ResponseError("Error running script (call to f_0): @user_script: 9: -READONLY You"),
            redis.ConnectionError,
        ),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), Refused),
    ],
)
def test_what_a_refusal_is_called(answer: Exception, named: type[Exception]) -> None:
    """By what to do: connect anew where another server is the primary now, else ask again later."""

    def refuse() -> None:
        with telling_refusals():
            raise answer

    call: Callable[[], None] = refuse
    with pytest.raises(named) as raised:
        call()
    assert raised.value.__cause__ is answer


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE"),
        (NoPermissionError(f"this user may not use {SECRET}"), "NoPermissionError"),
        (ResponseError(f"{SECRET} first"), "ResponseError"),
    ],
)
def test_only_its_code_is_told(answer: ResponseError, code: str) -> None:
    """The rest of a refusal may name keys."""
    assert code_of(answer) == code
