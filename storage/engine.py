"""The engine: SQLAlchemy Core on psycopg 3, and what its failures are called outside of `storage`.

The pool is SQLAlchemy's own. psycopg_pool under SQLAlchemy's NullPool was considered: NullPool takes every
check-out for a new connection and sets it up again each time (notice handlers pile up on the pooled one),
so SQLAlchemy would pay for a pool without having one.

A connection that died while it lay in the pool is noticed without a round trip: an idle Postgres connection
never has anything to read, so one that has (end of file, or the server's farewell) is replaced at check-out.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
import psycopg.conninfo
import sqlalchemy.exc
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from domain.errors import ConfigurationError, ServiceUnavailable

#: `Engine` is here for callers, who name it and do not import SQLAlchemy.
__all__ = [
    "OUTDATED",
    "VARIABLE",
    "Engine",
    "autocommit",
    "make_engine",
    "on_new_connection",
    "parse_url",
    "reachable",
    "single",
    "transaction",
]

VARIABLE: Final = "EVERGRANT_DATABASE_URL"
#: What a session says whose prepared statements were overtaken: by a migration that changed a column's type
#: ("cached plan must not change result type"), or by whoever discarded them. A new session has none of that.
OUTDATED: Final = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)
_SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_HOST = re.compile(r"[A-Za-z0-9._:%-]*")
#: Idle connections are probed by the kernel after this many seconds, and given up 3 probes later.
_KEEPALIVE: Final = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
#: Unacknowledged bytes on a cut line count as a dead server after this long (Linux; ignored elsewhere).
_USER_TIMEOUT: Final = timedelta(seconds=20)


def parse_url(text: str | SecretStr) -> URL:
    """Return the database URL, for psycopg 3.

    Raises:
        ConfigurationError: Naming EVERGRANT_DATABASE_URL; it never quotes the URL, which may hold a password.
    """
    secret = text.get_secret_value() if isinstance(text, SecretStr) else text
    try:
        url = make_url(secret)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # `from None`: the parser's message quotes what it could not read.
        raise ConfigurationError(
            f"{VARIABLE} is not a URL; write postgresql://user:password@host:5432/database, "
            "with special characters in the password percent-encoded"
        ) from None
    if url.drivername not in _SCHEMES:
        scheme = url.drivername if re.fullmatch(r"[a-z0-9+.-]{1,30}", url.drivername) else "another one"
        raise ConfigurationError(
            f"{VARIABLE} has the scheme {scheme!r}; Evergrant speaks to Postgres: postgresql://…"
        )
    if _HOST.fullmatch(url.host or "") is None:
        # An unescaped '/' or '@' in a password ends up in the host, and from there in error messages.
        raise ConfigurationError(
            f"the host in {VARIABLE} is malformed; percent-encode special characters in user and password"
        )
    if url.port is not None and not 0 < url.port < 65536:
        raise ConfigurationError(f"the port in {VARIABLE} is not one; write a number from 1 to 65535")
    try:
        psycopg.conninfo.make_conninfo("", **{str(name): str(value) for name, value in url.query.items()})
    except psycopg.ProgrammingError:
        # `from None`: the message may quote a value.
        raise ConfigurationError(
            f"{VARIABLE} has an option that Postgres' client does not know: one of {', '.join(url.query)}"
        ) from None
    return url.set(drivername="postgresql+psycopg")


def _connect_args(application_name: str, statement_timeout: timedelta) -> dict[str, object]:
    milliseconds = round(statement_timeout.total_seconds() * 1000)
    return {
        "application_name": application_name,
        "connect_timeout": 5,
        "tcp_user_timeout": round(_USER_TIMEOUT.total_seconds() * 1000),
        # Sent with the connection's start, so that it costs no round trip. An idle transaction is a bug of
        # ours that would hold a row's lock; the server ends it.
        "options": f"-c timezone=UTC -c statement_timeout={milliseconds} "
        "-c idle_in_transaction_session_timeout=30000",
        **_KEEPALIVE,
    }


def _replace_if_outdated(context: ExceptionContext) -> None:
    """Let every session go that was made before this: they have prepared the same statements."""
    if isinstance(context.original_exception, OUTDATED):
        context.is_disconnect = True


def _drop_if_dead(
    connection: psycopg.Connection[object], _record: ConnectionPoolEntry, _proxy: object
) -> None:
    if connection.closed:
        raise sqlalchemy.exc.DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise sqlalchemy.exc.DisconnectionError


def make_engine(
    url: str | SecretStr,
    *,
    pool_size: int = 5,
    application_name: str = "evergrant",
    statement_timeout: timedelta = timedelta(seconds=10),
    pool_timeout: timedelta = timedelta(seconds=10),
) -> Engine:
    """Return an engine whose sessions are in UTC; it connects on first use, never here.

    One per process, made after any fork. Exceptions it raises never show parameters.

    Args:
        pool_size: The most connections this process holds; callers beyond it wait up to `pool_timeout`.
        application_name: What `pg_stat_activity` shows.
        statement_timeout: The server cancels longer statements.

    Raises:
        ConfigurationError: The URL is malformed or not of Postgres.
    """
    engine = create_engine(
        parse_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout.total_seconds(),
        pool_use_lifo=True,
        hide_parameters=True,
        use_native_hstore=False,
        connect_args=_connect_args(application_name, statement_timeout),
    )
    event.listen(engine, "checkout", _drop_if_dead)
    event.listen(engine, "handle_error", _replace_if_outdated)
    return engine


def on_new_connection(engine: Engine, look: Callable[[psycopg.Connection[Any]], None]) -> None:
    """Let `look` see each connection that is made from now on, before anybody else uses it.

    What it raises is raised by whoever wanted the connection, which is closed then.
    """

    def looked_at(connection: psycopg.Connection[Any], _record: ConnectionPoolEntry) -> None:
        try:
            look(connection)
        except BaseException:
            connection.close()
            raise

    event.listen(engine, "connect", looked_at)


def autocommit(engine: Engine) -> Engine:
    """Return the engine, sharing its pool, for transactions of exactly one statement."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _reason(error: BaseException) -> str:
    """Say in a line what the server or the network said. psycopg's messages never hold the password."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        return cause.diag.message_primary
    if isinstance(cause, sqlalchemy.exc.TimeoutError):
        return "no free connection in the pool"
    # libpq's failures to connect are of several lines: the first one names the server and the reason.
    lines = str(cause).strip().splitlines()
    return lines[0].strip() if lines else type(cause).__name__


def _is_unavailability(error: sqlalchemy.exc.DBAPIError | psycopg.Error) -> bool:
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error.connection_invalidated:
            return True
        cause: BaseException | None = error.orig
    else:
        cause = error
    # A read-only server is a standby that has not been promoted yet: it comes right without us.
    return isinstance(
        cause, psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction
    )


@contextmanager
def reachable() -> Iterator[None]:
    """Turn failures of reaching Postgres, or of being served by it in time, into `ServiceUnavailable`.

    What a failed statement came to is then unknown where it was a write; every write here may be repeated.
    """
    try:
        yield
    except sqlalchemy.exc.TimeoutError as error:
        raise ServiceUnavailable(f"Postgres: {_reason(error)}") from error
    except (sqlalchemy.exc.DBAPIError, psycopg.Error) as error:
        if not _is_unavailability(error):
            raise
        raise ServiceUnavailable(f"Postgres: {_reason(error)}") from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Open one short transaction; commits on leaving, rolls back on an exception.

    Raises:
        ServiceUnavailable: Postgres does not answer, or refuses; whether a commit happened is unknown.
    """
    with reachable(), engine.begin() as connection:
        yield connection


@contextmanager
def single(engine: Engine) -> Iterator[Connection]:
    """Take a connection from an `autocommit` engine for one statement, without BEGIN and COMMIT around it.

    Raises:
        ServiceUnavailable: As `transaction`.
    """
    with reachable(), engine.connect() as connection:
        yield connection
