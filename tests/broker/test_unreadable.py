"""What nobody can read stops nobody, and does not vanish."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from tests.broker.world import OURS, Broker, Consumer
from workers.broker import channel, giving_back, taking

pytestmark = pytest.mark.servers

SECRET = "what-must-not-be-quoted"
WHOLE = {
    "body": "MQ==",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {},
    "properties": {
        "body_encoding": "base64",
        "delivery_tag": SECRET,
        "delivery_info": {"exchange": "work", "routing_key": "a"},
    },
}


def without(*path: str) -> str:
    """Write a message that lacks one thing."""
    message = json.loads(json.dumps(WHOLE))
    place = message
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return json.dumps(message)


def with_body(body: object) -> str:
    return json.dumps({**WHOLE, "body": body})


BROKEN: dict[str, bytes | str] = {
    "no JSON": f"{{{SECRET}",
    "a list": json.dumps([SECRET]),
    "a text": json.dumps(SECRET),
    "no properties": without("properties"),
    "properties that are a list": json.dumps({**WHOLE, "properties": [SECRET]}),
    "no tag": without("properties", "delivery_tag"),
    "a number for a tag": json.dumps({**WHOLE, "properties": {"delivery_tag": 7, "delivery_info": {}}}),
    "no route": without("properties", "delivery_info"),
    "no exchange": without("properties", "delivery_info", "exchange"),
    "deep": '{"properties":' + "[" * 2000 + "]" * 2000 + "}",
    "deeper than Python reads": json.dumps({**WHOLE, "x": 0}).replace(
        '"x": 0', '"x": ' + "[" * 996 + "]" * 996
    ),
    "no number": json.dumps({**WHOLE, "headers": {"x": {"__type__": "decimal", "__value__": "x"}}}),
    "a tag that is no UTF-8": json.dumps(WHOLE).encode().replace(SECRET.encode(), SECRET.encode() + b"\xff"),
    "no base64": with_body("abc"),
    "a body that is a number": with_body(7),
    "no UTF-8": json.dumps(WHOLE).encode().replace(b"MQ==", b"\xff\xfe"),
    "JSON that only Redis reads": json.dumps({**WHOLE, "x": 0}).replace('"x": 0', '"x": 0x10'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_set_aside_and_the_next_one_arrives(
    broker: Broker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list keeps the text as it was; the log tells of it and does not quote it."""
    log = Mock()
    monkeypatch.setattr(channel, "log", log)
    before = broker.publish("a", 1)
    text = BROKEN[name]
    broker.redis.lpush("a", text)
    after = broker.publish("a", 1)
    consumer = Consumer(broker, OURS, ["a"])

    assert consumer.drain(2) == [*before, *after]
    for message in consumer.got:
        message.ack()
    assert broker.redis.hgetall("unacked") == {}
    assert broker.redis.zcard("unacked_index") == broker.redis.llen("a") == 0
    with broker.bytes() as redis:
        assert redis.lrange("unreadable_messages", 0, -1) == [
            text if isinstance(text, bytes) else text.encode()
        ]
    ((arguments, fields),) = [call[1:] for call in log.method_calls]
    assert arguments == ("message_set_aside",)
    assert SECRET not in str(fields)


@pytest.mark.parametrize("texts", [["{1", "{2", "{3", "{4"], [with_body(f"abc{n}x") for n in "abcd"]])
def test_only_the_newest_are_kept(broker: Broker, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of them cannot fill Redis."""
    for module in (taking, giving_back):
        monkeypatch.setattr(module, "KEPT_ASIDE", 3)
    broker.redis.lpush("a", *texts)
    Consumer(broker, OURS, ["a"]).turn()

    assert broker.redis.llen("a") == 0
    assert broker.aside() == texts[:0:-1]


ENTRIES: dict[str, str] = {
    "no JSON": "{",
    "a text": json.dumps(["a text", "work", "a"]),
    "two numbers": json.dumps([1, 2]),
    "a list for an exchange": json.dumps([WHOLE, ["work"], "a"]),
    "deep": "[" * 996 + "]" * 996,
    "endless priority": json.dumps([{**WHOLE, "properties": {"priority": 0}}, "work", "a"]).replace(
        "0", "1e999"
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("tag", [b"tag", b"tag\xff"])
def test_an_entry_that_nobody_can_restore_is_set_aside(broker: Broker, name: str, tag: bytes) -> None:
    """Stock kombu's sweep would stop at it for ever."""
    entry = ENTRIES[name]
    other = Broker(broker.url, visibility_timeout=0)
    other.redis.hset("unacked", tag, entry)
    other.redis.zadd("unacked_index", {tag: 1.0})
    other.redis.zadd("unacked_index", {"gone": 2.0})
    consumer = Consumer(other, OURS, ["a"])
    consumer.channel.qos.restore_visible(num=None, interval=1)

    assert other.aside() == [entry]
    assert other.redis.exists("unacked", "unacked_index") == 0
    other.close()


def test_an_exception_in_the_middle_loses_nothing(broker: Broker) -> None:
    """What was taken with a message that broke its consumer is delivered next, or goes back."""
    numbers = broker.publish("a", 4)
    consumer = Consumer(broker, OURS, ["a"])
    keep: Callable[[object], None] = consumer._consumer.on_message

    def break_once(message: object) -> None:
        consumer._consumer.on_message = keep
        raise LookupError("broken consumer")

    consumer._consumer.on_message = break_once
    with pytest.raises(LookupError):
        consumer.turn()
    assert consumer.turn() == numbers[1:]
    consumer.channel.close()
    assert broker.waiting("a") == numbers
