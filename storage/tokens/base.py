"""What every part of the token store stands on."""

from __future__ import annotations

from sqlalchemy import Engine

from storage.engine import autocommit
from storage.sealing import Sealer
from storage.tokens.groups import Groups


class StoreBase:
    """Holds the engine, twice: for transactions, and for single statements without BEGIN and COMMIT."""

    def __init__(self, engine: Engine, sealer: Sealer, groups: Groups | None = None) -> None:
        """Make a store.

        Args:
            groups: What is claimed and landed together; None: what this store is asked for.
        """
        self._engine = engine
        self._auto = autocommit(engine)
        self._sealer = sealer
        self._groups = groups or Groups(engine)
