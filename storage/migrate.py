"""Schema versions: bring a database up to date, say whether it is, and find drift from the metadata."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import CheckConstraint, Connection, Engine, text

from domain.errors import ConfigurationError, ServiceUnavailable
from storage.engine import VARIABLE, make_engine, reachable
from storage.schema import metadata

#: The advisory lock of a migration run. The number is arbitrary and must never change.
_LOCK: Final = 7_340_112_938
#: Seconds between two looks at whether it is free.
_ASK_AGAIN: Final = 0.25
_MEND: Final = "run `evergrant migrate`"


class SchemaNotReady(ConfigurationError):
    """The database's schema is not the one this code was written for; the message says what to do."""


def _config() -> Config:
    config = Config()
    # Beside this module, so that it is found in a checkout and in an installed wheel alike. Alembic reads
    # the option through ConfigParser, to which a percent sign is special.
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """Return the schema version that this code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise AssertionError("unreachable: the wheel carries its migrations")
    return revision


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def current_revision(engine: Engine) -> str | None:
    """Return the database's schema version; None if it was never migrated."""
    with reachable(), engine.connect() as connection:
        return _current(connection)


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in _known():
        raise SchemaNotReady(
            f"the database is at schema {revision!r}, which is newer than this code ({head()!r}); "
            "install the release that made it, or restore a backup of the older schema"
        )


def check_schema(engine: Engine) -> None:
    """Make sure that the database has this code's schema.

    Raises:
        SchemaNotReady: It was never migrated, is older, or is newer than this code.
        ServiceUnavailable: Postgres does not answer.
    """
    revision = current_revision(engine)
    if revision is None:
        raise SchemaNotReady(f"the database in {VARIABLE} holds no Evergrant schema yet; {_MEND}")
    _refuse_newer(revision)
    if revision != head():
        raise SchemaNotReady(
            f"the database is at schema {revision!r}, older than this code's {head()!r}; {_MEND}"
        )


@contextmanager
def _alone(connection: Connection, patience: timedelta) -> Iterator[None]:
    """Hold the migration lock. A session's lock: it outlives the run's transactions and dies with us.

    Asked for again and again: whoever waits inside a statement has a snapshot, for which an index that is
    built while others write would wait in turn.
    """
    give_up = time.monotonic() + patience.total_seconds()
    while not _locked(connection):
        if time.monotonic() > give_up:
            raise ServiceUnavailable("another migration of this database is under way; run it again later")
        time.sleep(_ASK_AGAIN)
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
        connection.commit()


def _locked(connection: Connection) -> bool:
    locked = bool(connection.execute(text(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar_one())
    connection.commit()
    return locked


def upgrade(
    url: str | SecretStr, *, revision: str = "head", patience: timedelta = timedelta(minutes=2)
) -> None:
    """Bring the database to this code's schema, one migration a transaction; a second run does nothing.

    Indexes of big tables are built while others write (`storage.migrations.online`), outside of any
    transaction; a run that ended amidst them is finished by the next.

    Processes that do so at the same time wait for each other, at most `patience`.

    Raises:
        SchemaNotReady: The database is newer than this code; nothing is touched.
        ServiceUnavailable: Postgres does not answer, or a lock could not be had in time; run it again.
        ConfigurationError: The URL is malformed.
    """
    # A migration may outlast any statement_timeout that suits the service; env.py sets its own.
    engine = make_engine(
        url, pool_size=1, application_name="evergrant migrate", statement_timeout=timedelta(minutes=15)
    )
    config = _config()
    try:
        with reachable(), engine.connect() as connection, _alone(connection, patience):
            _refuse_newer(_current(connection))
            connection.rollback()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            f"{error}; the schema's version is that of the last whole migration, and the next run goes on"
        ) from error
    finally:
        engine.dispose()


def drift(url: str | SecretStr) -> list[str]:
    """Return the differences between a migrated database and the metadata; empty means none.

    Compares tables, columns, types, server defaults, indexes and constraints, as Alembic's autogenerate
    sees them, and check constraints by name, which it does not.
    """
    engine = make_engine(url, pool_size=1, application_name="evergrant drift")
    try:
        with reachable(), engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            found = [str(difference) for difference in compare_metadata(context, metadata)]
            return found + _check_constraint_drift(connection)
    finally:
        engine.dispose()


def _check_constraint_drift(connection: Connection) -> list[str]:
    rows = connection.execute(
        text(
            "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
            "WHERE k.contype = 'c' AND pg_table_is_visible(c.oid)"
        )
    )
    stored = {(table, name) for table, name in rows if table in metadata.tables}
    wanted = {
        (table.name, _full_name(table.name, str(constraint.name)))
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    return [f"check constraint {name} of {table} is in one place only" for table, name in stored ^ wanted]


def _full_name(table: str, name: str) -> str:
    # SQLAlchemy applies the naming convention when it first renders a constraint, in place.
    prefix = f"ck_{table}_"
    return name if name.startswith(prefix) else prefix + name
