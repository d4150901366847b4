"""What the commands about keys stand on: the database and the ring alone, no provider and no broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.keys.rotation import Rotation
from services.settings import Settings
from services.wiring import Servers
from storage.elections import Elections
from storage.engine import make_engine
from storage.keys import KeyRing
from storage.migrate import check_schema
from storage.processes import ProcessStore
from storage.resealing import Resealer, table_resealers
from storage.sealing import Sealer
from storage.staging.resealing import StagedResealer
from storage.staging.shelf import Shelf
from storage.staging.spool import Spool

#: Counting by key reads whole tables.
_STATEMENT_TIMEOUT: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """Everything about keys, wired once. Nothing was agreed by making it."""

    ring: KeyRing
    elections: Elections
    processes: ProcessStore
    resealers: tuple[Resealer, ...]

    def rotation(self) -> Rotation:
        """Return a rotation to the ring's first key."""
        return Rotation(self.elections, self.processes, self.ring, self.resealers)


@contextmanager
def key_desk(settings: Settings, servers: Servers) -> Iterator[KeyDesk]:
    """Open the desk for one command.

    Raises:
        ConfigurationError: The ring, the database's URL or its schema is wrong.
        ServiceUnavailable: Postgres does not answer.
    """
    ring = KeyRing.parse(servers.keys)
    engine = make_engine(
        servers.database_url,
        pool_size=2,
        application_name="evergrant-keys",
        statement_timeout=_STATEMENT_TIMEOUT,
    )
    sealer = Sealer(ring)
    shelf = Shelf(servers.redis_url)
    try:
        check_schema(engine)
        staged = StagedResealer(Spool(settings.spool_dir), shelf, sealer)
        resealers = (*table_resealers(engine, sealer), staged)
        yield KeyDesk(ring, Elections(engine), ProcessStore(engine), resealers)
    finally:
        shelf.close()
        engine.dispose()
