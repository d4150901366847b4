"""What beat ticks and how Celery is set: names that exist, and the settings that promises rest on."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest
from celery import Celery
from pydantic import SecretStr

import beat_schedule
from services.settings import Settings
from services.wiring import Servers
from tasks import names
from tests.acceptance.deployment import CHECKOUT
from workers.celery_app import make_app
from workers.celery_config import celery_settings

SERVERS = Servers(
    SecretStr("postgresql://u:p@127.0.0.1/d"),
    SecretStr("redis://:redis-word@127.0.0.1:6379/0"),
    SecretStr("k"),
)


@pytest.fixture(scope="module")
def app() -> Celery:
    return make_app(Settings(), SERVERS)


@pytest.fixture
def conf() -> dict[str, Any]:
    return celery_settings(SERVERS)


def test_every_tick_names_a_task_that_exists(app: Celery) -> None:
    """A tick whose task nobody has would be refused by every worker, in a log line."""
    for name, entry in beat_schedule.BEAT_SCHEDULE.items():
        assert entry["task"] in app.tasks, name


def test_every_tick_has_its_queue_and_no_clock() -> None:
    """Only the control queue carries ticks. None expires: where two machines' clocks differ by more than the
    expiry, no tick would ever be carried out."""
    for name, entry in beat_schedule.BEAT_SCHEDULE.items():
        assert entry["options"] == {"queue": names.CONTROL}, name
        schedule = entry["schedule"]
        assert isinstance(schedule, float)
        assert 0 < schedule <= 300, name


def test_the_schedule_imports_nothing_of_ours() -> None:
    """beat_schedule.py is names and seconds: it imports the standard library alone, at any depth."""
    source = (CHECKOUT / "beat_schedule.py").read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])

    assert imported <= sys.stdlib_module_names
    assert "importlib" not in imported
    assert "__import__" not in source


def test_the_contract_names_exist(app: Celery) -> None:
    """The names that other services send are registered, and no task is a coroutine function, which Celery
    would call a success without running it."""
    ours = {name: task for name, task in app.tasks.items() if name.startswith("evergrant.")}

    assert {"evergrant.refresh_token", "evergrant.check_token"} <= set(ours)
    for task in ours.values():
        assert not task.run.__code__.co_flags & 0x80, f"{task.name} is a coroutine function"


def test_results_and_messages_are_json_alone(conf: dict[str, Any]) -> None:
    """A message can never make a worker unpickle anything."""
    assert conf["accept_content"] == conf["result_accept_content"] == ["json"]
    assert conf["task_serializer"] == conf["result_serializer"] == "json"
    assert conf["result_extended"] is False


def test_a_message_outlives_its_worker_and_a_refresh_its_broker(conf: dict[str, Any]) -> None:
    """Late acknowledgement, redelivery, no cancelling on a broker's hiccup, threads, no hoard."""
    assert conf["task_acks_late"] is True
    assert conf["task_reject_on_worker_lost"] is True
    assert conf["worker_cancel_long_running_tasks_on_connection_loss"] is False
    assert conf["worker_pool"] == "threads"
    assert conf["worker_prefetch_multiplier"] == 1
    assert conf["broker_connection_max_retries"] is None
    assert "retry_on_timeout" not in conf["broker_transport_options"]


def test_the_same_visibility_everywhere(conf: dict[str, Any]) -> None:
    """The shortest of several would win; it covers the longest task, and bounds a hung Redis."""
    broker, backend = conf["broker_transport_options"], conf["result_backend_transport_options"]

    assert broker["visibility_timeout"] == backend["visibility_timeout"] >= 120
    assert 0 < broker["socket_timeout"] <= 10
    assert 0 < broker["socket_connect_timeout"] <= 10


def test_queues_are_the_four_and_no_other(app: Celery, conf: dict[str, Any]) -> None:
    """A misspelt queue is an error at the sender; bulk and interactive queues share nothing."""
    assert {queue.name for queue in conf["task_queues"]} == set(names.QUEUES)
    assert conf["task_create_missing_queues"] is False
    assert set(names.BULK_QUEUES) | set(names.INTERACTIVE_QUEUES) == set(names.QUEUES)
    assert not set(names.BULK_QUEUES) & set(names.INTERACTIVE_QUEUES)
    for task, route in conf["task_routes"].items():
        assert task in app.tasks
        assert route["queue"] in names.INTERACTIVE_QUEUES, (
            "what is sent without a queue must not wait behind bulk"
        )


def test_a_settings_repr_shows_no_password(app: Celery) -> None:
    """Celery prints its settings in bug reports and Flower shows them: the broker's password is masked."""
    assert "redis-word" not in app.conf.humanize(with_defaults=False, censored=True)
    assert "redis-word" not in repr(SERVERS)
