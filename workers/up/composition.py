"""Which processes `evergrant up` runs, in the order in which they start."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.settings import Settings
from storage.staging.life import anybody_holding
from tasks.names import BULK_QUEUES, CONTROL, ON_DEMAND
from workers import signs_of_life
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.ports import accepts_connections
from workers.supervision.spec import ProcessSpec

#: Longer than the longest task: a worker that was asked to stop finishes what it has begun.
WORKER_GRACE: Final = timedelta(seconds=60)
#: Longer than the longest request: an exchange, an account's request, and a commit.
API_GRACE: Final = timedelta(seconds=65)
#: What the interactive worker does is short, or waits for others: many threads cost little.
INTERACTIVE_THREADS: Final = 16
#: A tick of each kind, and a revocation that waits for its provider. Ticks have a worker of their own: what
#: they publish keeps a process busy, and a pile of callers would keep them waiting.
CONTROL_THREADS: Final = 4


def evergrant(*words: str) -> list[str]:
    """Return the command line of one of our own commands, run by this same Python."""
    return [sys.executable, "-m", "workers.cli", *words]


def project_root() -> Path:
    """Return where the packages are, which child processes need on their path."""
    return Path(__file__).resolve().parents[2]


def servers(settings: Settings, folder: DataFolder) -> list[ProcessSpec]:
    """Prepare the embedded servers that the settings leave to us, and return them."""
    specs = []
    if settings.database_url is None:
        postgres = EmbeddedPostgres(folder)
        postgres.prepare()
        specs.append(postgres.spec())
    if settings.redis_url is None:
        redis = EmbeddedRedis(folder)
        redis.prepare()
        specs.append(redis.spec())
    return specs


def migration(environment: Mapping[str, str], *, for_demo: bool) -> ProcessSpec:
    """Return the step that brings the schema up to date, and keeps the demo away from real connections."""
    return ProcessSpec(
        name="migrate",
        argv=evergrant("migrate", *(["--for-demo"] if for_demo else [])),
        env=environment,
        restart=False,
        ready_timeout=timedelta(minutes=10),
    )


def application(
    settings: Settings, folder: DataFolder, environment: Mapping[str, str], *, port: int, flower_port: int
) -> list[ProcessSpec]:
    """Return workers, beat, the HTTP face and Flower."""
    bulk_names = ["bulk"] if settings.bulk_workers == 1 else [
        f"bulk-{number}" for number in range(1, settings.bulk_workers + 1)
    ]  # fmt: skip
    threads = settings.worker_threads
    specs = [_worker(settings, folder, environment, name, BULK_QUEUES, threads) for name in bulk_names]
    specs.append(_worker(settings, folder, environment, "interactive", (ON_DEMAND,), INTERACTIVE_THREADS))
    specs.append(_worker(settings, folder, environment, "control", (CONTROL,), CONTROL_THREADS))
    specs.append(
        ProcessSpec(
            name="beat",
            argv=evergrant("beat"),
            env=environment,
            ready=_alive(signs_of_life.heartbeat_file(folder, "beat")),
            awaited=False,
            stop_grace=timedelta(seconds=10),
        )
    )
    specs.append(
        ProcessSpec(
            name="api",
            argv=evergrant("api", "--port", str(port)),
            env=environment,
            ready=lambda: accepts_connections(port),
            awaited=False,
            # A code exchange under way is finished: its code would be lost.
            stop_grace=API_GRACE,
            ports=(port,),
        )
    )
    specs.append(
        ProcessSpec(
            name="flower",
            argv=evergrant("flower", "--port", str(flower_port)),
            env=environment,
            ready=lambda: accepts_connections(flower_port),
            awaited=False,
            stop_grace=timedelta(seconds=10),
            ports=(flower_port,),
        )
    )
    return specs


def _worker(
    settings: Settings,
    folder: DataFolder,
    environment: Mapping[str, str],
    name: str,
    queues: Sequence[str],
    threads: int,
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=evergrant("worker", "--name", name, "--queues", ",".join(queues), "--threads", str(threads)),
        env=environment,
        ready=_alive(signs_of_life.heartbeat_file(folder, name)),
        # Nobody needs another to be there: they wait for Redis, and the work waits for them.
        awaited=False,
        stop_signal=signal.SIGTERM,
        stop_grace=WORKER_GRACE,
        # Answers that neither Postgres nor the spool takes are in a worker's memory alone.
        spared=lambda: anybody_holding(settings.spool_dir),
    )


def _alive(file: Path) -> Callable[[], bool]:
    """Return a probe that waits for a sign of life newer than now: an old file is another run's."""
    file.unlink(missing_ok=True)
    return file.exists
