"""The key that seals, agreed by all processes in the deployment's one row.

Joining and electing are made for each other. Whoever joins has registered before he reads the agreed key,
and reads it under a share lock; whoever elects locks the row first and looks at the register afterwards. So
either the election sees the newcomer, or the newcomer sees what was elected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, bindparam, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from domain.errors import ConfigurationError, KeyMissing
from storage.engine import autocommit, single, transaction
from storage.keys import VARIABLE
from storage.processes import Process, all_processes
from storage.schema import deployment, processes
from storage.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the processes agree on.

    Attributes:
        key_id: The key that seals; None until the first process has joined.
        former: The keys that sealed before it, the latest last.
    """

    key_id: str | None
    former: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Election:
    """What came of proposing a key.

    Attributes:
        agreed: As it stands after it.
        lacking: The living processes that do not hold the proposed key, and so prevented it.
    """

    agreed: Agreed
    lacking: tuple[Process, ...] = ()


_ROW: Final = select(deployment.c.sealing_key_id, deployment.c.former_key_ids)
_KEY: Final = select(deployment.c.sealing_key_id)
_FIRST: Final = (
    update(deployment)
    .where(deployment.c.sealing_key_id.is_(None))
    .values(sealing_key_id=bindparam("first_key"))
)
_ELECT: Final = update(deployment).values(
    sealing_key_id=bindparam("new_key"), former_key_ids=bindparam("former_keys", type_=ARRAY(Text))
)
_SAY: Final = (
    update(processes)
    .where(
        processes.c.id == bindparam("wanted"),
        processes.c.sealing_key_id.is_distinct_from(bindparam("seals_with")),
    )
    .values(sealing_key_id=bindparam("seals_with"))
)


class Elections:
    """Reads and changes the agreed key. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def join(self, first_key: str) -> Agreed:
        """Return what is agreed; the first process of a deployment makes its own first key the agreed one.

        Waits for an election that is under way. A process that registers calls it after that.
        """
        with transaction(self._engine) as connection:
            connection.execute(_FIRST, {"first_key": first_key})
            return _agreed(connection.execute(_ROW.with_for_update(read=True)).one())

    def read(self) -> Agreed:
        """Return what is agreed at this moment."""
        with single(self._auto) as connection:
            return _agreed(connection.execute(_ROW).one())

    def lacking(self, key_id: str) -> tuple[Process, ...]:
        """Return the living processes that do not hold this key, the oldest first."""
        with single(self._auto) as connection:
            return _lacking(connection, key_id)

    def elect(self, key_id: str, *, former_too: bool) -> Election:
        """Make this key the one that seals, if every living process holds it.

        Args:
            former_too: Also a key that has sealed before and was replaced. Without it, two processes whose
                rings begin with different keys cannot vote each other down for ever.
        """
        with transaction(self._engine) as connection:
            agreed = _agreed(connection.execute(_ROW.with_for_update(key_share=True)).one())
            if agreed.key_id == key_id or (key_id in agreed.former and not former_too):
                return Election(agreed)
            if lacking := _lacking(connection, key_id):
                return Election(agreed, lacking)
            former = [former for former in agreed.former if former not in {key_id, agreed.key_id}]
            if agreed.key_id is not None:
                former.append(agreed.key_id)
            connection.execute(_ELECT, {"new_key": key_id, "former_keys": former})
            return Election(Agreed(key_id, tuple(former)))

    def say(self, process_id: str, key_id: str) -> None:
        """Write which key a registered process seals with, if that is news."""
        with single(self._auto) as connection:
            connection.execute(_SAY, {"wanted": process_id, "seals_with": key_id})


def agreed_sealer(connection: Connection, sealer: Sealer) -> Sealer:
    """Return a sealer with the agreed key, which stays the agreed one until this transaction ends.

    For writers that are not registered: an election waits for their transaction, so that nothing they seal
    under the former key can appear after it. Before any process has joined, the sealer's own key is taken.

    Raises:
        ConfigurationError: The sealer's ring lacks the agreed key.
    """
    agreed = connection.execute(_KEY.with_for_update(read=True)).scalar_one()
    try:
        return sealer.sealing_with(agreed or sealer.key_id)
    except KeyMissing as missing:
        raise lacks_agreed(missing.key_id) from None


def lacks_agreed(key_id: str) -> ConfigurationError:
    """Return the refusal of a process whose ring lacks the agreed key."""
    return ConfigurationError(
        f"{VARIABLE} does not hold {key_id!r}, the key that this deployment seals with: what the other "
        f"processes write could not be opened here. Add it to {VARIABLE}, as the other processes have it; if "
        f"it is lost for good, `evergrant keys rotate --lost {key_id}` goes on without it"
    )


def _agreed(row: Row[*tuple[Any, ...]]) -> Agreed:
    return Agreed(row.sealing_key_id, tuple(row.former_key_ids))


def _lacking(connection: Connection, key_id: str) -> tuple[Process, ...]:
    return tuple(
        process for process in all_processes(connection) if process.living and key_id not in process.key_ids
    )
