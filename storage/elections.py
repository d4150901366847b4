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

from domain.errors import ConfigurationError
from storage.engine import autocommit, single, transaction
from storage.keys import VARIABLE, id_of
from storage.processes import Process, all_processes
from storage.schema import deployment, processes
from storage.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the processes agree on, by fingerprints: two processes may hold different keys of one id.

    Attributes:
        key: The key that seals; None until the first process has joined.
        former: The keys that sealed before it, the latest last.
    """

    key: str | None
    former: tuple[str, ...]

    @property
    def key_id(self) -> str | None:
        """The id of the key that seals."""
        return None if self.key is None else id_of(self.key)


@dataclass(frozen=True, slots=True)
class Election:
    """What came of proposing a key.

    Attributes:
        agreed: As it stands after it.
        lacking: The living processes that do not hold the proposed key, and so prevented it.
    """

    agreed: Agreed
    lacking: tuple[Process, ...] = ()


_ROW: Final = select(deployment.c.sealing_key, deployment.c.former_keys)
_KEY: Final = select(deployment.c.sealing_key)
_FIRST: Final = (
    update(deployment).where(deployment.c.sealing_key.is_(None)).values(sealing_key=bindparam("first_key"))
)
_ELECT: Final = update(deployment).values(
    sealing_key=bindparam("new_key"), former_keys=bindparam("former_keys", type_=ARRAY(Text))
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

    def lacking(self, key: str) -> tuple[Process, ...]:
        """Return the living processes that do not hold this key, the oldest first."""
        with single(self._auto) as connection:
            return _lacking(connection, key)

    def elect(self, key: str, *, former_too: bool) -> Election:
        """Make this key the one that seals, if every living process holds it.

        Args:
            former_too: Also a key that has sealed before and was replaced. Without it, two processes whose
                rings begin with different keys cannot vote each other down for ever.
        """
        with transaction(self._engine) as connection:
            agreed = _agreed(connection.execute(_ROW.with_for_update(key_share=True)).one())
            if agreed.key == key or (key in agreed.former and not former_too):
                return Election(agreed)
            if lacking := _lacking(connection, key):
                return Election(agreed, lacking)
            former = [former for former in agreed.former if former not in {key, agreed.key}]
            if agreed.key is not None:
                former.append(agreed.key)
            connection.execute(_ELECT, {"new_key": key, "former_keys": former})
            return Election(Agreed(key, tuple(former)))

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
    if agreed is None:
        return sealer.sealing_with(sealer.key_id)
    if not sealer.holds(agreed):
        raise lacks_agreed(agreed)
    return sealer.sealing_with(id_of(agreed))


def lacks_agreed(key: str) -> ConfigurationError:
    """Return the refusal of a process whose ring lacks the agreed key, given by its fingerprint."""
    key_id = id_of(key)
    return ConfigurationError(
        f"{VARIABLE} does not hold {key!r}, the key that this deployment seals with, or holds another one of "
        f"the same id: what the other processes write could not be opened here. Add {key_id!r} to {VARIABLE} "
        "as the other processes have it; if it is lost for good, "
        f"`evergrant keys rotate --lost {key_id}` goes on without it"
    )


def _agreed(row: Row[*tuple[Any, ...]]) -> Agreed:
    return Agreed(row.sealing_key, tuple(row.former_keys))


def _lacking(connection: Connection, key: str) -> tuple[Process, ...]:
    return tuple(
        process for process in all_processes(connection) if process.living and key not in process.key_ids
    )
