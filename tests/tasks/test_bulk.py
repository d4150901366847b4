"""What a bulk message holds: ids, and for a refresh the tenant by which it is admitted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery
from celery._state import _task_stack
from celery.contrib.testing.worker import start_worker
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from services.scheduling import Work
from services.settings import Settings
from services.wiring import Servers
from storage.tokens.due import DueToken
from tasks.arguments import CheckArguments, InvalidArguments, RefreshArguments, parse
from tasks.bulk import BulkQueue
from tasks.names import CHECK_TOKEN, REFRESH_TOKEN, SCHEDULE_REFRESHES
from tests.support.waiting import eventually
from workers.celery_app import make_app

pytestmark = pytest.mark.servers


@pytest.fixture
def app(redis_url: str) -> Celery:
    nowhere = SecretStr("postgresql://u:p@127.0.0.1/d")
    return make_app(Settings(), Servers(nowhere, SecretStr(redis_url), SecretStr("k")))


def published(app: Celery, work: Work, *tenants: str | None) -> list[dict[str, Any]]:
    """Publish a token of each tenant, and return the keyword arguments that a worker would get."""
    due = [DueToken(uuid4(), "shops", datetime.now(UTC), timedelta(), tenant) for tenant in tenants]
    queue = BulkQueue(app, work)
    queue.publish(due)
    assert queue.depth() == len(due)
    with app.connection_for_read() as connection, connection.SimpleQueue(str(work)) as reading:
        messages = [reading.get(timeout=5) for _ in due]
        for message in messages:
            message.ack()
    bodies = [message.decode() for message in messages]
    assert [body[1]["connection_id"] for body in bodies] == [str(token.connection_id) for token in due]
    return [body[1] for body in bodies]


def test_a_refresh_is_sent_with_its_tenant(app: Celery) -> None:
    """The worker knows the scope before it touches the row; a grant of no tenant names none."""
    at_a, at_none = published(app, Work.REFRESH, "a.example", None)

    assert (at_a["tenant"], "tenant" in at_none) == ("a.example", False)
    assert parse(RefreshArguments, at_a).tenant == "a.example"
    assert parse(RefreshArguments, at_none).tenant is None
    assert set(at_a) == {"connection_id", "provider_id", "scheduled", "tenant"}


def test_a_check_is_sent_without_one(app: Celery) -> None:
    """A check reads its row before it is admitted."""
    (sent,) = published(app, Work.HEALTH, "a.example")

    assert "tenant" not in sent
    assert parse(CheckArguments, sent).scheduled


@pytest.mark.parametrize("tenant", [7, ["a"], "a\x00b", "x" * 256])
def test_a_tenant_that_is_none_is_refused(tenant: object) -> None:
    """It is named, and its value is not repeated."""
    given: dict[str, object] = {"connection_id": str(uuid4()), "tenant": tenant}

    with pytest.raises(InvalidArguments, match="tenant"):
        parse(RefreshArguments, given)


def raw_messages(app: Celery, work: Work) -> list[dict[str, Any]]:
    """What lies in the queue, in the order of publishing, as the broker keeps it."""
    with redis.Redis.from_url(app.conf.broker_url) as client:
        return [json.loads(line) for line in reversed(client.lrange(str(work), 0, -1))]


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """The message with all that differs between two of the same content taken out."""
    headers = {name: value for name, value in message["headers"].items() if name not in {"id", "root_id"}}
    # Celery repeats in the properties what it was told to show, where nobody reads it.
    names = {"correlation_id", "delivery_tag", "reply_to", "argsrepr", "kwargsrepr"}
    properties = {name: value for name, value in message["properties"].items() if name not in names}
    return {**message, "headers": headers, "properties": properties}


@pytest.mark.parametrize("work", list(Work))
def test_a_bulk_message_is_what_celery_would_send(app: Celery, work: Work) -> None:
    """Bulk messages and one of `apply_async` differ in their ids alone."""
    token = DueToken(uuid4(), "shops", datetime.now(UTC), timedelta())
    task = {Work.REFRESH: REFRESH_TOKEN, Work.HEALTH: CHECK_TOKEN}[work]

    BulkQueue(app, work).publish([token, token])
    app.tasks[task].apply_async(
        kwargs={"connection_id": str(token.connection_id), "provider_id": "shops", "scheduled": True},
        queue=str(work),
        argsrepr="()",
        kwargsrepr=f"{{'connection_id': '{token.connection_id}'}}",
    )

    first, second, ordinary = raw_messages(app, work)
    assert without_ids(first) == without_ids(second) == without_ids(ordinary)
    ids = {message["headers"]["id"] for message in (first, second, ordinary)}
    tags = {message["properties"]["delivery_tag"] for message in (first, second, ordinary)}
    assert (len(ids), len(tags)) == (3, 3)
    for message in (first, second, ordinary):
        its_own = message["headers"]["id"]
        assert message["headers"]["root_id"] == message["properties"]["correlation_id"] == its_own


def test_a_stock_worker_runs_bulk_messages(app: Celery, redis_url: str) -> None:
    """An unmodified Celery app that knows the task by name gets the arguments, once a message."""
    due = [DueToken(uuid4(), "shops", datetime.now(UTC), timedelta()) for _ in range(3)]
    stock = Celery("stock", broker=redis_url, set_as_current=False)
    stock.conf.task_default_queue = str(Work.REFRESH)
    # Shared tasks are everybody's: this app has a task of its own by that name.
    stock.finalize()
    del stock.tasks[REFRESH_TOKEN]
    received: list[dict[str, object]] = []

    @stock.task(name=REFRESH_TOKEN, shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def refresh(**arguments: object) -> None:
        received.append(arguments)

    BulkQueue(app, Work.REFRESH).publish(due)
    with start_worker(stock, pool="solo", perform_ping_check=False, loglevel="WARNING"):
        eventually(lambda: len(received) == 3, what="the stock worker has run all messages")

    assert [arguments["connection_id"] for arguments in received] == [str(one.connection_id) for one in due]
    assert all(arguments["scheduled"] is True for arguments in received)


def test_a_tick_is_the_parent_of_what_it_publishes(app: Celery) -> None:
    """Published by a task in a worker, the messages name it, as Celery's own would."""
    token = DueToken(uuid4(), "shops", datetime.now(UTC), timedelta())
    tick = app.tasks[SCHEDULE_REFRESHES]
    tick.push_request(id="the-tick", root_id="the-root", called_directly=False)
    _task_stack.push(tick)
    try:
        BulkQueue(app, Work.REFRESH).publish([token])
    finally:
        _task_stack.pop()
        tick.pop_request()

    (message,) = raw_messages(app, Work.REFRESH)
    assert (message["headers"]["root_id"], message["headers"]["parent_id"]) == ("the-root", "the-tick")


def test_a_broker_that_is_away_is_named_so(app: Celery) -> None:
    """Whether it was never reached, or broke off in the middle, the error is the one that ticks expect."""
    token = DueToken(uuid4(), "shops", datetime.now(UTC), timedelta())
    queue = BulkQueue(app, Work.REFRESH)
    queue.publish([token])
    with redis.Redis.from_url(app.conf.broker_url) as client:
        client.delete(str(Work.REFRESH))
        client.set(str(Work.REFRESH), "not a list: the flush is refused")

    with pytest.raises(OperationalError):
        queue.publish([token])
