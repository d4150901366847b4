"""After a restore: which tokens have probably been spent since the backup, and what is done about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, and_, func, or_, select, text

from domain.errors import ConfigurationError
from domain.restore import STRIDE, Identity, Present
from domain.token import RESTORED, TokenState
from storage.alerts import resolve_cause
from storage.deployment import observe
from storage.engine import autocommit, single, transaction
from storage.schema import connections, tokens
from storage.tokens.claim_statements import HALF_LIFE
from storage.tokens.rows import STATE_COLUMNS, now_of, state_of

#: Rows that are decided on at once; memory stays constant however many there are.
_PAGE: Final = 1000
_LIVING: Final = and_(tokens.c.status.in_(("active", "in_doubt")), tokens.c.refreshable)
_PUT_IN_DOUBT: Final = text(f"""
    WITH given AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[])) AS g (id, due)),
    changed AS (
        UPDATE tokens t
           SET status = 'in_doubt', attempt_id = gen_random_uuid(), lease_until = NULL,
               presented_at = coalesce(t.first_presented_at, :since),
               first_presented_at = coalesce(t.first_presented_at, :since),
               refresh_due_at = given.due, refresh_enqueued_until = NULL,
               last_error_code = '{RESTORED}', last_error_at = clock_timestamp()
          FROM given
         WHERE t.connection_id = given.id
        RETURNING t.connection_id, t.provider_id, t.version)
    INSERT INTO activity (at, connection_id, provider_id, version, kind)
    SELECT clock_timestamp(), connection_id, provider_id, version, '{RESTORED}' FROM changed
""")  # noqa: S608 - made of one literal word
_ACCEPT: Final = text("""
    INSERT INTO deployment (identity, line_offset) VALUES (:identity, :more)
    ON CONFLICT (singleton) DO UPDATE
       SET identity = excluded.identity, line_offset = deployment.line_offset + excluded.line_offset,
           guarded_since = NULL, guard_found = NULL
""")
_LOCK: Final = text("SELECT 1 FROM deployment FOR UPDATE")


@dataclass(frozen=True, slots=True)
class Exposed:
    """One provider's living connections, and how many of them have probably been refreshed since."""

    provider_id: str
    living: int
    doubtful: int


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an operator agreed to.

    Attributes:
        identity: The database that he was shown.
        beyond: The highest line that any mark tells.
        until: Refreshes up to then must be expected that the database does not know.
        since: When the database's own record ends; they cannot have been earlier.
    """

    identity: Identity
    beyond: int
    until: datetime
    since: datetime


class RestoringStore:
    """Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def exposed(self, *, until: datetime) -> list[Exposed]:
        """Count living connections by provider. Reads the whole table."""
        statement = (
            select(tokens.c.provider_id, func.count(), func.count().filter(_spent(until)))
            .where(_LIVING)
            .group_by(tokens.c.provider_id)
            .order_by(tokens.c.provider_id)
        )
        with single(self._auto) as connection:
            return [Exposed(*row) for row in connection.execute(statement)]

    def accept(
        self,
        acceptance: Acceptance,
        providers: Sequence[str],
        recover_at: Callable[[TokenState, datetime], datetime],
        *,
        cause: str,
    ) -> tuple[Mapping[str, int], Present]:
        """Put what was probably spent in doubt, and take the database as the right one, in one transaction.

        Args:
            providers: Whose connections are put in doubt; those of others stay as they are.
            recover_at: When a token may be presented again, given Postgres' time.
            cause: The alert that is resolved by it.

        Returns:
            How many were put in doubt, by provider, and the database as it is then.

        Raises:
            ConfigurationError: It is another database than the one that the operator was shown.
        """
        done: dict[str, int] = {}
        with transaction(self._engine) as connection:
            connection.execute(_LOCK)
            present = observe(connection)
            if present.identity != acceptance.identity:
                raise ConfigurationError(
                    "this is another database by now than the one that was shown; nothing was changed, run "
                    "it again"
                )
            last: UUID | None = None
            while page := _page(connection, acceptance.until, providers, last):
                for row in page:
                    done[row.provider_id] = done.get(row.provider_id, 0) + 1
                _put_in_doubt(connection, page, acceptance.since, recover_at)
                last = page[-1].connection_id
            more = max(acceptance.beyond, present.line) + STRIDE - present.line
            connection.execute(_ACCEPT, {"identity": str(present.identity), "more": more})
            resolve_cause(connection, cause)
            return done, observe(connection)


def _spent(until: datetime) -> Any:  # noqa: ANN401 - a column's expression
    # Callers may have had a token refreshed from half of its life on, the scheduler when it was due.
    earliest = func.least(tokens.c.refresh_due_at, tokens.c.expires_at - HALF_LIFE)
    return or_(earliest <= until, tokens.c.presented_at.is_not(None), tokens.c.status == "in_doubt")


def _page(
    connection: Connection, until: datetime, providers: Sequence[str], after: UUID | None
) -> Sequence[Row[Any]]:
    statement = (
        select(*STATE_COLUMNS)
        .where(
            connections.c.id == tokens.c.connection_id,
            tokens.c.provider_id.in_(providers),
            _LIVING,
            _spent(until),
        )
        .order_by(tokens.c.connection_id)
        .limit(_PAGE)
        .with_for_update(key_share=True, of=tokens)
    )
    if after is not None:
        statement = statement.where(tokens.c.connection_id > after)
    return connection.execute(statement).all()


def _put_in_doubt(
    connection: Connection,
    page: Sequence[Row[Any]],
    since: datetime,
    recover_at: Callable[[TokenState, datetime], datetime],
) -> None:
    dues = []
    for row in page:
        token = state_of(row)
        first = token.first_presented_at or since
        doubted = replace(token, presented_at=first, first_presented_at=first)
        dues.append(recover_at(doubted, now_of(row)))
    parameters = {"ids": [row.connection_id for row in page], "dues": dues, "since": since}
    connection.execute(_PUT_IN_DOUBT, parameters)
