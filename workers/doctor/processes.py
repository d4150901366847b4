"""The doctor's look at the processes: who answers over the broker, and whose beat is fresh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from services.settings import Settings
from tasks.names import QUEUES
from workers import signs_of_life
from workers.doctor.finding import Finding, fail, ok, warn
from workers.embedded.layout import DataFolder
from workers.remote_control import CALLABLE_PROVIDERS

_PATIENCE_SECONDS: Final = 2.0


def callable_by_workers(app: Celery) -> frozenset[str]:
    """Return the providers that running workers can call; empty where no worker answers."""
    try:
        answers = app.control.broadcast(CALLABLE_PROVIDERS, reply=True, timeout=_PATIENCE_SECONDS)
    except (OperationalError, RedisError):
        return frozenset()
    replies = (reply for answer in answers or () for reply in answer.values())
    # A worker of an older version answers with a note that it does not know the command.
    return frozenset(provider for ids in replies if isinstance(ids, list) for provider in ids)


def examine_workers(app: Celery) -> Iterator[Finding]:
    """Ask every worker which queues it reads, and name the queues that nobody reads."""
    try:
        answers = app.control.inspect(timeout=_PATIENCE_SECONDS).active_queues() or {}
    except (OperationalError, RedisError):
        return  # Redis' own finding says it.
    read = set()
    for worker, queues in sorted(answers.items()):
        names = [queue["name"] for queue in queues]
        read.update(names)
        yield ok("worker", f"{worker} reads {', '.join(names)}")
    unread = [name for name in QUEUES if name not in read]
    if unread:
        yield fail(
            "queues", f"no worker reads {', '.join(unread)}",
            f"start `evergrant worker --queues {','.join(unread)}`, or `evergrant up`",
        )  # fmt: skip


def examine_beat(settings: Settings) -> Iterator[Finding]:
    """Look for beat's sign of life on this machine."""
    age = signs_of_life.age(signs_of_life.heartbeat_file(DataFolder(settings.data_dir), "beat"))
    if age is None:
        yield warn(
            "beat",
            "shows no sign of life on this machine",
            "fine if it runs elsewhere; else `evergrant beat`",
        )
    elif age > signs_of_life.STALE:
        yield warn(
            "beat",
            f"has not ticked for {age.total_seconds():.0f} s here",
            "restart it, unless it runs elsewhere",
        )
    else:
        yield ok("beat", "ticks")
