"""Real workers through kills, restarts and lost connections: no message is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from unittest.mock import Mock

import pytest
import redis

from tests.broker.processes import Works, go_on, stop
from tests.support.servers import PATIENCE
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.child import Child
from workers.supervision.claim import ClaimedFolder, claim_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]


@pytest.fixture
def works(redis_url: str, tmp_path: Path) -> Iterator[Works]:
    works = Works(redis_url, tmp_path)
    yield works
    works.close()


def _are_done(works: Works, enough: int) -> bool:
    return len(works.done()) >= enough


def test_kills_under_load_lose_nothing(works: Works) -> None:
    """At every look each message waits, is unacknowledged or is done; in the end all are done."""
    works.send(4000)
    for _ in range(4):
        worker = works.start()
        enough = len(works.done()) + 200
        eventually(partial(_are_done, works, enough), what="it is in the midst of them")
        worker.kill_group()
        assert works.done() < works.sent
    works.start()
    works.await_all()


def test_a_warm_shutdown_leaves_nothing_unacknowledged(works: Works) -> None:
    """What was done is acknowledged, what was under way is finished first, and the rest waits."""
    works.send(40, gated=True)
    worker = works.start(threads=4)
    eventually(lambda: len(works.account()[1]) == 4, what="four are under way")
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Warm shutdown" in worker.said(), what="it was told")
    works.redis.set("gate", 1)
    worker.process.wait(timeout=60)

    waiting, unacknowledged, done = works.account()
    assert unacknowledged == set()
    assert done | waiting == works.sent
    assert done & waiting == set()
    assert set(works.runs().values()) <= {0, 1}


def test_no_more_is_taken_than_there_are_threads(works: Works) -> None:
    """The order stays where it can still change; what follows is taken when a thread is free."""
    works.send(30, gated=True)
    works.start(threads=3)
    eventually(lambda: len(works.account()[1]) == 3, what="three are under way")
    works.send(1, queue="health")
    works.redis.set("gate", 1)

    def over() -> bool:
        waiting, unacknowledged, done = works.account()
        assert len(unacknowledged) <= 3
        return done == works.sent and not waiting and not unacknowledged

    eventually(over, what="all are done")
    assert set(works.runs().values()) == {1}


def test_connections_that_are_killed_in_the_middle(works: Works) -> None:
    """The worker connects again and goes on. What was under way may run twice, as with stock kombu."""
    works.send(30, gated=True)
    works.start(threads=3)
    eventually(lambda: len(works.account()[1]) == 3, what="three are under way")
    works.redis.client_kill_filter(_type="normal", skipme=True)
    works.redis.client_kill_filter(_type="pubsub", skipme=True)
    works.redis.set("gate", 1)
    works.await_all()


def test_events_and_remote_control(works: Works) -> None:
    """What Flower lives on is told of every task, and a queue can be left and taken up again."""
    works.start()
    seen: list[str] = []
    with works.app.connection_for_read() as connection:
        receiver = works.app.events.Receiver(
            connection, handlers={"*": lambda event: seen.append(event["type"])}
        )
        with receiver.consumer_context() as (listening, _, _):
            # Nothing is kept for who listens later, so listen until the worker is heard.
            while "worker-heartbeat" not in seen:
                listening.drain_events(timeout=30)
            works.send(1)
            while not {"task-received", "task-started", "task-succeeded"} <= set(seen):
                listening.drain_events(timeout=30)
    control = works.app.control
    assert [list(answer.values()) for answer in control.ping(timeout=5, limit=1)] == [[{"ok": "pong"}]]
    control.cancel_consumer("health", reply=True, timeout=5, limit=1)
    works.send(1, queue="health")
    works.send(20)
    eventually(lambda: len(works.done()) == 21, what="the other queue is worked on")
    assert len(works.account()[0]) == 1
    control.add_consumer("health", reply=True, timeout=5, limit=1)
    works.await_all()


class Restartable:
    """A Redis of the test's own."""

    def __init__(self, folder: DataFolder, claimed: ClaimedFolder) -> None:
        self._server, self._claimed = EmbeddedRedis(folder), claimed
        self.start()

    def start(self) -> None:
        self._server.prepare()
        self._child = Child.start(self._server.spec(), self._claimed)
        self._server.wait_ready(PATIENCE)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def pid(self) -> int:
        with redis.Redis.from_url(self.url) as client:
            return int(client.info("server")["process_id"])

    def stop(self) -> None:
        self._child.stop()


@pytest.fixture
def own(data_folder: DataFolder, tmp_path: Path) -> Iterator[tuple[Restartable, Works]]:
    with claim_folder(data_folder.path) as claimed:
        server = Restartable(data_folder, claimed)
        works = Works(server.url, tmp_path)
        yield server, works
        works.close()
        server.stop()


def _restart(server: Restartable, works: Works) -> None:
    del works
    server.stop()
    server.start()


def _freeze(server: Restartable, works: Works) -> None:
    pid = server.pid
    stop(pid)
    log = next(works._folder.glob("*.log"))
    try:
        eventually(
            lambda: "Connection to broker lost" in log.read_text(), seconds=60, what="the worker has noticed"
        )
    finally:
        go_on(pid)


def test_an_event_is_not_waited_for(own: tuple[Restartable, Works]) -> None:
    """Celery lets a worker's heartbeat retry without end, and a hung Redis would stop the event loop."""
    server, works = own
    pid = server.pid
    with works.app.connection_for_write() as connection:
        dispatcher = works.app.events.Dispatcher(connection)
        sender = Thread(target=dispatcher.send, args=("worker-heartbeat",), kwargs={"retry": True})
        stop(pid)
        try:
            sender.start()
            eventually(lambda: not sender.is_alive(), seconds=60, what="it was tried once")
        finally:
            go_on(pid)
            sender.join(60)


def test_events_are_not_tried_one_by_one(works: Works) -> None:
    """After one failure the next events are kept: each would cost a hung broker's timeout."""
    producer = Mock()
    producer.publish.side_effect = redis.TimeoutError
    with works.app.connection_for_write() as connection:
        dispatcher = works.app.events.Dispatcher(connection)
        dispatcher.producer = producer
        for _ in range(3):
            dispatcher.send("worker-heartbeat")
        dispatcher.flush()

    producer.publish.assert_called_once()
    assert len(dispatcher._outbound_buffer) == 3


@pytest.mark.parametrize("trouble", [_restart, _freeze])
def test_a_redis_that_goes_away_and_comes_back(
    own: tuple[Restartable, Works], trouble: Callable[[Restartable, Works], None]
) -> None:
    """The worker waits for it, and nothing that it had taken is forgotten."""
    server, works = own
    # One thread is free, so the worker looks for more all the time.
    works.send(3, gated=True)
    works.start(threads=4)
    eventually(lambda: len(works.account()[1]) == 3, what="three are under way")
    trouble(server, works)
    works.send(100)
    works.redis.set("gate", 1)
    works.await_all()
