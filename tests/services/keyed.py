"""Processes with key rings of their own: registered, and looking at the election as a worker does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from pydantic import SecretStr

from services.keys.rotation import Report, Watch
from services.keys.wiring import key_desk
from services.settings import Settings
from services.wiring import Servers, Services
from storage.keys import KeyRing, generate, id_of
from storage.processes import Process, ProcessReport, ProcessStore
from storage.resealing import OnProgress
from tests.services.world import World


def agree(world: World, keys: str) -> None:
    """Let the first key of this ring be the agreed one, without an election."""
    with psycopg.connect(world.database_url) as connection:
        connection.execute("UPDATE deployment SET sealing_key = %s", (fingerprint(keys),))


def fingerprint(keys: str) -> str:
    return KeyRing.parse(SecretStr(keys)).fingerprints[0]


def agreed(world: World) -> str:
    """The id of the agreed key."""
    return id_of(world.rows("SELECT sealing_key FROM deployment")[0]["sealing_key"])


def wire_without_key(world: World, key_id: str) -> Services:
    """Wire a process with a ring of this one key alone, which no start would let in."""
    keys = generate(key_id)
    agree(world, keys)
    try:
        return world.wire(keys=keys)
    finally:
        agree(world, world.keys)


def register(services: Services, *, staged_key_ids: Sequence[str] = ()) -> ProcessStore:
    """Register a process as it does before its first claim, and join anew."""
    store = ProcessStore(services.engine)
    store.register(services.owner, role="bulk", host="here", key_ids=services.ring.fingerprints)
    services.election.join()
    store.report(services.owner, ProcessReport(datetime.now(UTC), staged_key_ids=tuple(staged_key_ids)))
    return store


@contextmanager
def living(*everybody: Services) -> Iterator[None]:
    """Let these processes be registered, and look at the election over and over."""
    ended = threading.Event()
    errors: list[BaseException] = []

    def look(services: Services) -> None:
        while not ended.wait(0.02):
            try:
                services.election.look()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)
                return

    for services in everybody:
        register(services)
    threads = [threading.Thread(target=look, args=(services,)) for services in everybody]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not errors


class Silent(Watch):
    """Shows no progress, and remembers whom a rotation waited for."""

    def __init__(self) -> None:
        self.waited_for: list[str] = []

    def passing(self, name: str, count: int) -> OnProgress:
        del name, count
        return lambda _: None

    def waiting(self, processes: Sequence[Process]) -> None:
        self.waited_for += [process.id for process in processes]


def rotate(world: World, keys: str, *, watch: Watch | None = None, **how: object) -> Report:
    """Rotate as the command does that is given this ring."""
    servers = Servers(SecretStr(world.database_url), SecretStr(world.redis_url), SecretStr(keys))
    with key_desk(Settings(data_dir=world.data_dir), servers) as desk:
        return desk.rotation().run(watch or Silent(), **how)  # type: ignore[arg-type]  # keywords of one call
