"""The doctor's look at what is staged: on this machine, in Redis, and by what the processes have reported."""

from __future__ import annotations

from collections.abc import Iterator

from domain.errors import ServiceUnavailable
from services.settings import Settings
from services.wiring import Servers
from storage.engine import Engine
from storage.processes import Process, ProcessStore
from storage.staging.life import anybody_holding
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool
from workers.doctor.finding import Finding, fail, ok, warn

_KEEP = "bring Postgres back and let a worker run here; what lies there lands by itself. Delete nothing"


def examine_staging(settings: Settings, servers: Servers) -> Iterator[Finding]:
    """Look at the places where answers wait that Postgres has not taken."""
    yield from _spool(Spool(settings.spool_dir))
    # Postgres knows it too, and is most likely away when it matters.
    if anybody_holding(settings.spool_dir):
        yield fail(
            "unsafe answers", f"a worker of {settings.spool_dir} holds answers in its memory alone",
            "do not kill it: free its disk, or bring Postgres back",
        )  # fmt: skip
    shelf = Shelf(servers.redis_url)
    try:
        copies = sum(1 for _ in shelf.everything())
        if copies:
            yield warn("staged", f"{copies} answers wait in Redis", _KEEP)
    except ServiceUnavailable:
        pass  # Redis' own finding says it.
    finally:
        shelf.close()


def examine_processes(engine: Engine) -> Iterator[Finding]:
    """Look at the processes that present, and at what they hold.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    for process in ProcessStore(engine).all():
        if process.gone_at is None or process.staged:
            yield _process(process)


def _process(process: Process) -> Finding:
    name = f"{process.role} on {process.host}"
    silent = f"{(process.now - process.seen_at).total_seconds():.0f} s"
    if process.unsafe and process.living:
        return fail(
            "staged", f"{name} holds {process.unsafe} answers in its memory alone",
            "do not kill it: free its disk, or bring Postgres back",
        )  # fmt: skip
    if process.staged:
        return warn("staged", f"{process.staged} answers that {name} received have not landed", _KEEP)
    if not process.living:
        return warn(
            "process", f"{name} has not reported for {silent}, and nobody knows that it has ended",
            "start a worker on that machine, which looks; else doubts about what it presented wait for "
            "their grace, ten minutes at most",
        )  # fmt: skip
    return ok("process", f"{name} has settled all but the last {_behind(process)}")


def _behind(process: Process) -> str:
    return f"{max(0.0, (process.now - process.settled_until).total_seconds()):.0f} s"


def _spool(spool: Spool) -> Iterator[Finding]:
    try:
        waiting = len(list(spool.envelopes()))
        unreadable = spool.unreadable()
    except OSError as error:
        yield fail("spool", f"{spool.folder} cannot be read: {error.strerror}", "mend its permissions")
        return
    if unreadable:
        yield fail(
            "spool", f"{len(unreadable)} files in {spool.folder} are damaged: {', '.join(unreadable)}",
            "keep them; if their connections are in doubt, what was in them is lost",
        )  # fmt: skip
    if waiting:
        yield warn("staged", f"{waiting} answers wait in {spool.folder}", _KEEP)
    elif not unreadable:
        yield ok("spool", "is empty")
