"""What every part of the token store stands on."""

from __future__ import annotations

from sqlalchemy import Engine

from storage.engine import autocommit
from storage.sealing import Sealer


class StoreBase:
    """Holds the engine, twice: for transactions, and for single statements without BEGIN and COMMIT."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer
