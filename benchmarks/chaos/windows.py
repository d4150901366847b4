"""How wide the two windows are that no client can close, measured in one process without faults.

From the last look at the deadline, which counts from the look at the lease, to the bytes' being handed to the
kernel: a process that is stopped there may become late. And from the answer's last byte to its durable
commit, in which a killed process loses it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from pydantic import SecretStr

from benchmarks.chaos.definitions import client_variables, configure, import_line
from benchmarks.chaos.figure import spread
from benchmarks.chaos.wire_faults import DIALECTS
from benchmarks.chaos.world import World
from domain.asks import RefreshAsk
from providers import network
from services.settings import Settings
from services.wiring import Servers, Services, wire
from storage.migrate import upgrade
from storage.tokens.landing import Landing, LandResult

_DATABASE = "windows"
_CONNECTIONS = 50


@dataclass
class _Watch:
    """Instants of the refresh under way, and what they came to. Seconds of the performance counter."""

    looked: float = 0.0
    last_byte: float = 0.0
    before_send: list[float] = field(default_factory=list)
    before_commit: list[float] = field(default_factory=list)


def measure(world: World) -> dict[str, object]:
    """Return both windows' widths in microseconds, over as many refreshes as the dose says."""
    url = _database(world.servers.postgres.url)
    client = world.simulator.client
    for dialect in DIALECTS.values():
        client.configure(dialect, latency=0)
    upgrade(SecretStr(url))
    services = wire(
        Settings(providers_file=world.providers_file, data_dir=world.folder / "windows"),
        Servers(SecretStr(url), SecretStr(world.servers.redis.url), SecretStr(world.keys)),
        client_variables(),
        role="windows",
        threads=2,
    )
    try:
        watch = _watched(services)
        _refresh(world, services, url, watch)
    finally:
        services.close()
        configure(client, world.dose)
    return {
        "check_to_sent_microseconds": spread(watch.before_send),
        "last_byte_to_commit_microseconds": spread(watch.before_commit),
        "conditions": "one process, one refresh at a time, a provider that answers at once, fsync on",
    }


def _database(url: str) -> str:
    """Make a database beside the campaign's, and return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
    return urlunsplit(urlsplit(url)._replace(path=f"/{_DATABASE}"))


def _watched(services: Services) -> _Watch:
    """Look inside: at the last check of the deadline, at the socket, and at the commit."""
    watch = _Watch()
    enter = network._enter  # noqa: SLF001 - a measurement looks inside
    send, read, land = network._Stream._send, network._Stream.read, services.tokens.land  # noqa: SLF001 - as above

    def watched_enter(stage: network.Stage, too_late: type[Exception]) -> tuple[network.Call, float]:
        entered = enter(stage, too_late)
        if stage is network.Stage.WRITING:
            watch.looked = time.perf_counter()
        return entered

    def watched_send(stream: network._Stream, unsent: memoryview) -> None:
        send(stream, unsent)
        # The system call is counted in: it is where the bytes leave.
        watch.before_send.append(time.perf_counter() - watch.looked)

    def watched_read(stream: network._Stream, max_bytes: int, timeout: float | None = None) -> bytes:
        received = read(stream, max_bytes, timeout)
        watch.last_byte = time.perf_counter()
        return received

    def watched_land(landing: Landing) -> LandResult:
        result = land(landing)
        watch.before_commit.append(time.perf_counter() - watch.last_byte)
        return result

    setattr(network, "_enter", watched_enter)  # noqa: B010 - mypy forbids the plain assignment
    setattr(network._Stream, "_send", watched_send)  # noqa: B010, SLF001 - mypy forbids the plain assignment
    setattr(network._Stream, "read", watched_read)  # noqa: B010, SLF001 - as above
    setattr(services.tokens, "land", watched_land)  # noqa: B010 - as above
    return watch


def _refresh(world: World, services: Services, url: str, watch: _Watch) -> None:
    lines = []
    for provider in ("gsc", "strict"):
        minted = world.simulator.client.mint(DIALECTS[provider], _CONNECTIONS // 2, owner="windows")
        lines += [
            import_line(grant, provider, f"{provider}-{number}").encode()
            for number, grant in enumerate(minted)
        ]
    services.importer.run(lines, replace=False, on_rejected=lambda _: None, on_progress=lambda _: None)
    ask = RefreshAsk(scheduled=True)
    with psycopg.connect(url, autocommit=True) as connection:
        while len(watch.before_commit) < world.dose.measured:
            rows = connection.execute(
                "UPDATE tokens SET refresh_due_at = now() - interval '1 second'"
                " RETURNING connection_id, provider_id"
            ).fetchall()
            for connection_id, provider_id in rows:
                services.refresh.refresh(connection_id, ask, provider_id=provider_id)
