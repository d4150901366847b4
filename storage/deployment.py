"""The deployment's own row: which database this is, how far it has come, and whether it is an old one.

Nothing here decides; `domain.restore` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
import sqlalchemy.exc
from sqlalchemy import BigInteger, Connection, Engine, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.errors import ConfigurationError, ServiceUnavailable
from domain.restore import Identity, Present
from storage.alerts import AlertSpec, open_alert
from storage.engine import autocommit, on_new_connection, reachable, single, transaction
from storage.schema import processes

#: The timeline is taken from the WAL that is being written: `pg_control_checkpoint()` tells a promotion only
#: after its first checkpoint. `max(id)` and not the sequence, which a crash may set back below what was
#: handed out. Both are of committed, and so of durable, lines. Parameters there are none, so that psycopg
#: can run it as it stands.
_OBSERVE: Final = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() - '0/0'::pg_lsn END,
           CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn END,
           d.singleton IS NOT NULL, d.identity, coalesce(d.line_offset, 0), d.guarded_since, d.guard_found,
           coalesce(l.id, 0), l.at, EXISTS (SELECT 1 FROM tokens), clock_timestamp()
      FROM (SELECT 1) AS always
      LEFT JOIN deployment d ON true
      LEFT JOIN (SELECT id, at FROM activity ORDER BY id DESC LIMIT 1) AS l ON true
"""
_ADOPT: Final = text("""
    UPDATE deployment SET identity = :identity, line_offset = line_offset + :more
     WHERE guarded_since IS NULL AND identity IS NULL
""").bindparams(bindparam("more", type_=BigInteger))
_GUARD: Final = text("""
    INSERT INTO deployment (guarded_since, guard_found) VALUES (clock_timestamp(), :found)
    ON CONFLICT (singleton) DO UPDATE
       SET guarded_since = excluded.guarded_since, guard_found = excluded.guard_found
     WHERE deployment.guarded_since IS NULL
    RETURNING guarded_since
""").bindparams(bindparam("found", type_=JSONB))
_ADD_MARK: Final = text(
    "UPDATE deployment SET guard_found = guard_found || jsonb_build_object('mark', CAST(:mark AS text))"
    " WHERE guarded_since IS NOT NULL"
)
_STAGED: Final = select(func.coalesce(func.sum(processes.c.staged + processes.c.unsafe), 0))


class DeploymentStore:
    """Each call is one short transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def observe(self) -> Present:
        """Return what the database says of itself.

        Raises:
            ServiceUnavailable: Postgres does not answer, or is a standby.
            ConfigurationError: The role may not read the server's identity; says what to grant.
        """
        with single(self._auto) as connection:
            return observe(connection)

    def watch_connections(self, look: Callable[[Callable[[], Present]], None]) -> None:
        """Let `look` observe over each connection that is made from now on, before anybody else uses it."""
        on_new_connection(self._engine, lambda connection: look(lambda: observe_raw(connection)))

    def adopt(self, present: Present, *, line: int) -> None:
        """Take a new database as it is, and count on from `line`; nothing if somebody has decided."""
        parameters = {"identity": str(present.identity), "more": line - present.line}
        with single(self._auto) as connection:
            connection.execute(_ADOPT, parameters)

    def guard(self, found: Mapping[str, object], alert: AlertSpec) -> bool:
        """Write that this looks like a restored backup, and tell it; False if somebody had done so."""
        with transaction(self._engine) as connection:
            if connection.execute(_GUARD, {"found": dict(found)}).one_or_none() is None:
                return False
            open_alert(connection, alert)
            return True

    def staged(self) -> int:
        """Return how many received answers processes have reported that have not landed."""
        with single(self._auto) as connection:
            count: int = connection.execute(_STAGED).scalar_one()
        return count

    def add_mark(self, mark: str) -> None:
        """Add a mark that one process alone knows, and that is ahead, to what was found."""
        with single(self._auto) as connection:
            connection.execute(_ADD_MARK, {"mark": mark})


def observe(connection: Connection) -> Present:
    """As `DeploymentStore.observe`, within the caller's connection."""
    try:
        row = connection.execute(text(_OBSERVE)).one()
    except sqlalchemy.exc.ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise _ungranted(error.orig) from error
        raise
    return _present(row)


def observe_raw(connection: psycopg.Connection[Any]) -> Present:
    """As `DeploymentStore.observe`, on a connection that was made this moment; leaves no transaction open."""
    with reachable():
        try:
            row = connection.execute(_OBSERVE).fetchone()
        except psycopg.errors.InsufficientPrivilege as error:
            raise _ungranted(error) from error
        finally:
            connection.rollback()
    if row is None:
        raise AssertionError("unreachable: the statement returns exactly one row")
    return _present(row)


def _ungranted(error: psycopg.Error) -> ConfigurationError:
    return ConfigurationError(
        f"the database role may not read which server this is ({error.diag.message_primary}); run GRANT "
        "EXECUTE ON FUNCTION pg_control_system(), pg_walfile_name(pg_lsn), pg_current_wal_lsn(), "
        "pg_current_wal_flush_lsn() for it"
    )


def _present(row: Sequence[Any]) -> Present:
    system, segment, database, lsn, durable, has_row, accepted, offset, since, found, *rest = row
    line, last_at, holds_tokens, now = rest
    if segment is None:
        raise ServiceUnavailable("Postgres: the server is a standby")
    guarded_since: datetime | None = since
    return Present(
        # A segment's name begins with its timeline, in hexadecimal.
        identity=Identity(system, int(segment[:8], 16), database),
        has_row=has_row,
        accepted=None if accepted is None else Identity.parse(accepted),
        line=line + offset,
        last_at=last_at,
        lsn=int(lsn),
        durable=int(durable),
        holds_tokens=holds_tokens,
        guarded_since=guarded_since,
        found=found or {},
        now=now,
        offset=offset,
    )
