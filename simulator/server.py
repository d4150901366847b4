"""Puts the parts together and runs them until somebody says stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from simulator.connection import Connection
from simulator.control import Control
from simulator.dialects import build, fresh_states
from simulator.faults import FaultQueue
from simulator.journal import Journal
from simulator.pushing import KEYS_PATH, Pusher
from simulator.tokens import TokenSmith, new_key
from simulator.traffic import Traffic
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        port: 0 takes any free one.
        journal: where to remember; None forgets everything at the end.
        port_file: gets the port, in one step, once the socket listens.
        keep_alive_seconds: an idle connection is closed after this long, looked at once a second.
        history_length: how many presentations of each grant are kept one by one.
        seed: of latencies and lifetimes; None is different each time. Tokens never come of it.
    """

    host: str
    port: int
    journal: Path | None
    port_file: Path | None
    keep_alive_seconds: float
    history_length: int
    seed: int | None


async def run(options: Options, control_token: str | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        JournalError: the journal cannot be used.
        OSError: the address cannot be listened on.
    """
    journal = None if options.journal is None else Journal(options.journal)
    rng = Random(options.seed)  # noqa: S311 - latencies and lifetimes, no secret
    smith = TokenSmith(new_key() if journal is None else journal.key)
    world = World(smith, fresh_states(), history_length=options.history_length, rng=rng)
    if journal is not None:
        for event in journal.events():
            world.apply(event)
        journal.compact(world.snapshot)
        world.record = journal.append
    dialects, routes = build(world)
    faults = FaultQueue()
    pusher = Pusher()
    control = Control(world, dialects, faults, control_token, pusher)
    traffic = Traffic(world, routes, faults, control.handle, rng, {KEYS_PATH: pusher.serve_keys})
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await loop.create_server(
        lambda: Connection(traffic.serve, connections), options.host, options.port, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    if options.port_file is not None:
        _write_at_once(options.port_file, f"{port}\n")
    sys.stdout.write(f"SIMULATOR of OAuth providers (not a real one) on http://{options.host}:{port}\n")
    sys.stdout.flush()
    housekeeping = asyncio.create_task(_keep_house(connections, options.keep_alive_seconds, journal))
    await stopping.wait()
    server.close()
    housekeeping.cancel()
    await traffic.stop()
    for connection in list(connections):
        connection.close()
    if journal is not None:
        journal.close()


async def _keep_house(connections: set[Connection], keep_alive: float, journal: Journal | None) -> None:
    while True:
        await asyncio.sleep(1)
        now = time.monotonic()
        for connection in list(connections):
            if connection.idle_since is not None and now - connection.idle_since > keep_alive:
                connection.close()
        if journal is not None:
            journal.compact_if_grown()


def _write_at_once(path: Path, text: str) -> None:
    """Write the file so that a reader sees nothing or all of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
