"""`evergrant worker`: a Celery worker for some queues."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from celery import Celery, signals

from domain.errors import ConfigurationError, EvergrantError
from services import settings as service_settings
from services.settings import Settings
from services.wiring import Servers, wire
from tasks.context import attach
from tasks.names import BULK_QUEUES, QUEUES
from workers import heartbeat, paced_events
from workers.celery_app import make_app
from workers.cli import session
from workers.cli.app_maker import single
from workers.embedded.layout import DataFolder
from workers.signs_of_life import heartbeat_file

#: It becomes a part of the worker's address and of its heartbeat file's name.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help=f"Comma-separated, of {', '.join(QUEUES)}.")
    ] = ",".join(QUEUES),
    name: Annotated[
        str, typer.Option("--name", help="Names the worker in Flower and its health check.")
    ] = "worker",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=200, help="Default: EVERGRANT_WORKER_THREADS.")
    ] = None,
) -> None:
    """Run a worker for some queues, until SIGTERM; tasks under way are finished first."""
    unknown = sorted(set(queues.split(",")) - set(QUEUES))
    if unknown:
        raise ConfigurationError(
            f"--queues: there is no queue {', '.join(map(repr, unknown))}; choose of {', '.join(QUEUES)}"
        )
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"--name: {name!r} cannot name a worker; use letters, digits, '-', '_' and '.', at most 64"
        )
    settings, servers = session.load()
    app = make_app(settings, servers)
    count = threads or settings.worker_threads
    heartbeat.use_in_worker(app, heartbeat_file(DataFolder(settings.data_dir), name))
    paced_events.use_in_worker(app)
    ending = _wire(app, settings, servers, role=name, threads=count)
    # Without gossip and mingle: workers need nothing of each other, and both cost messages on every start.
    app.worker_main(
        [
            "worker", "--queues", queues, "--hostname", f"{name}@%h", "--concurrency", str(count),
            "--prefetch-multiplier", str(_prefetch(queues.split(","))),
            "--without-gossip", "--without-mingle", "--loglevel", settings.log_level,
        ]
    )  # fmt: skip
    if ending.failed:
        raise EvergrantError(f"worker {name} broke down and has to be started again; its log says why")


def _prefetch(queues: Sequence[str]) -> int:
    """Return how many messages a worker holds for each of its threads.

    Of bulk work one more than it can begin, so that a turn of its loop settles and takes several, and no
    thread waits for a turn. What somebody waits for is left to whichever worker has a thread for it.
    """
    return 2 if set(queues) <= set(BULK_QUEUES) else 1


@dataclass(slots=True)
class _Ending:
    """How Celery's worker ended. Celery logs what broke it, and then ends as if nothing had happened."""

    failed: bool = False


def _wire(app: Celery, settings: Settings, servers: Servers, *, role: str, threads: int) -> _Ending:
    """Wire now, so that a wrong setting stops the start, and close after the last task."""
    services = wire(settings, servers, service_settings.environment(), role=role, threads=threads)
    # The first look at the database comes before the first claim.
    services.watch.start()
    # Registered, and everything landed that an earlier worker left, before the first task is taken.
    services.sweeper.start()
    attach(app, services)

    ending = _Ending()

    def close(sender: object = None, **_: object) -> None:
        ending.failed = bool(getattr(sender, "exitcode", None))
        services.close()

    signals.worker_shutdown.connect(close, weak=False)
    return ending


app = single(worker)
