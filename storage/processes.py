"""The register of processes: who presents, how far each has settled, and which keys it can open with.

A process that presents refresh tokens registers before its first claim and reports every few seconds. What
recovery asks of a doubt ("can the answer still be somewhere?") and what key rotation asks ("can everybody
open with the new key?") is answered from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Interval,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import Text

from storage.engine import autocommit, single
from storage.inspection import database_time
from storage.schema import processes

#: A process that has not reported for this long counts as dead for what needs only the living. Thirty missed
#: reports: a machine that was merely busy is back by then.
LIVING: Final = timedelta(seconds=60)
#: … and after this long its row is removed, if nothing of it is known to wait.
FORGOTTEN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What a process says of itself.

    Attributes:
        settled_until: Every presentation that it stamped before then is resolved (Postgres' clock).
        staged: Received answers of it that lie in its spool or in Redis and have not landed.
        unsafe: Received answers that only its memory holds.
        staged_key_ids: The keys that seal what lies in its spool.
    """

    settled_until: datetime
    staged: int = 0
    unsafe: int = 0
    staged_key_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A registered process, as its row stands. Instants are Postgres' clock; `now` is when it was read.

    Attributes:
        gone_at: When somebody made sure that it has ended and left nothing to land; None: not known.
        key_ids: The fingerprints of the keys that it can open with, in the order of its ring.
        sealing_key_id: The key that it seals with; nothing that it sealed with another one is on its way any
            more. None: it has not said yet.
    """

    id: str
    role: str
    host: str
    started_at: datetime
    seen_at: datetime
    settled_until: datetime
    gone_at: datetime | None
    staged: int
    unsafe: int
    key_ids: tuple[str, ...]
    staged_key_ids: tuple[str, ...]
    sealing_key_id: str | None
    now: datetime

    @property
    def silent(self) -> timedelta:
        """How long ago it reported last."""
        return self.now - self.seen_at

    @property
    def living(self) -> bool:
        """Whether it has reported lately and nobody has found it dead."""
        return self.gone_at is None and self.silent < LIVING


_COLUMNS: Final = tuple(processes.c[name] for name in Process.__slots__ if name != "now")
_ALL: Final = select(*_COLUMNS, func.clock_timestamp()).order_by(processes.c.started_at)
_ONE: Final = select(*_COLUMNS, func.clock_timestamp()).where(processes.c.id == bindparam("wanted"))
_REPORT: Final = (
    update(processes)
    .where(processes.c.id == bindparam("wanted"))
    .values(
        seen_at=func.clock_timestamp(),
        # As told, earlier than before too: a clock that was put back makes what was said untrue.
        settled_until=bindparam("until", type_=DateTime(timezone=True)),
        gone_at=None,
        staged=bindparam("staged_now"),
        unsafe=bindparam("unsafe_now"),
        staged_key_ids=bindparam("sealed_by", type_=ARRAY(Text)),
    )
    .returning(func.clock_timestamp())
)


def all_processes(connection: Connection) -> list[Process]:
    """Return every registered process, the oldest first, as a transaction of the caller's sees them."""
    return [_process(row) for row in connection.execute(_ALL)]


class ProcessStore:
    """Each call is one statement. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._auto = autocommit(engine)

    def register(self, process_id: str, *, role: str, host: str, key_ids: Sequence[str]) -> datetime:
        """Enter a process, or enter it anew; returns Postgres' time at that moment.

        From then on it counts as living, and as not having settled anything stamped later.

        Args:
            key_ids: `KeyRing.fingerprints`: whether everybody holds a key is asked by these.
        """
        values = {"role": role, "host": host, "key_ids": list(key_ids)}
        entering = (
            upsert(processes)
            .values(id=process_id, **values)
            .on_conflict_do_update(
                index_elements=[processes.c.id],
                set_={**values, "seen_at": func.clock_timestamp(), "gone_at": None},
            )
            .returning(func.clock_timestamp())
        )
        with single(self._auto) as connection:
            now: datetime = connection.execute(entering).scalar_one()
        return now

    def report(self, process_id: str, report: ProcessReport) -> datetime | None:
        """Write what a process says of itself; returns Postgres' time, None if it is not registered."""
        parameters = {
            "wanted": process_id,
            "until": report.settled_until,
            "staged_now": report.staged,
            "unsafe_now": report.unsafe,
            "sealed_by": list(report.staged_key_ids),
        }
        with single(self._auto) as connection:
            now: datetime | None = connection.execute(_REPORT, parameters).scalar_one_or_none()
        return now

    def mark_gone(self, process_id: str, *, staged: int) -> None:
        """Write that a process has ended, by somebody who made sure of it and looked at what it left.

        Args:
            staged: Answers of it that are still staged; above zero it is not gone yet, only dead.
        """
        gone = func.clock_timestamp() if staged == 0 else None
        marking = (
            update(processes)
            .where(processes.c.id == process_id)
            .values(gone_at=gone, staged=staged, unsafe=0)
        )
        with single(self._auto) as connection:
            connection.execute(marking)

    def find(self, process_id: str) -> Process | None:
        """Return one process; None if it is not registered, or was forgotten."""
        with single(self._auto) as connection:
            row = connection.execute(_ONE, {"wanted": process_id}).one_or_none()
        return None if row is None else _process(row)

    def all(self) -> list[Process]:
        """Return every registered process, the oldest first."""
        with single(self._auto) as connection:
            return all_processes(connection)

    def now(self) -> datetime:
        """Return Postgres' time."""
        return database_time(self._auto)

    def write_off(self, process_id: str) -> bool:
        """Give up what a silent process holds, as if it had left nothing; False if it is not silent.

        What it holds lands all the same, should it ever come back.
        """
        writing = (
            update(processes)
            .where(
                processes.c.id == process_id,
                processes.c.gone_at.is_(None),
                processes.c.seen_at < func.clock_timestamp() - _ago(LIVING),
            )
            .values(gone_at=func.clock_timestamp(), staged=0, unsafe=0)
        )
        with single(self._auto) as connection:
            return connection.execute(writing).rowcount == 1

    def forget(self) -> int:
        """Remove the rows of processes that ended long ago and left nothing; returns how many."""
        removal = delete(processes).where(
            processes.c.seen_at < func.clock_timestamp() - _ago(FORGOTTEN), processes.c.staged == 0
        )
        with single(self._auto) as connection:
            return connection.execute(removal).rowcount


def _process(row: Sequence[object]) -> Process:
    values = [tuple(value) if isinstance(value, list) else value for value in row]
    return Process(*values)  # type: ignore[arg-type]  # the columns are the fields, in their order


def _ago(duration: timedelta) -> ColumnElement[timedelta]:
    return literal(duration, Interval)
