"""Provider holds: breakers that all workers share, one row a scope (client id and token endpoint)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from storage.alerts import AlertSpec, open_alert, resolve_cause
from storage.engine import autocommit, single, transaction
from storage.schema import provider_holds


@dataclass(frozen=True, slots=True)
class Hold:
    """An open breaker.

    Attributes:
        failures: How often it was opened in a row, failed probes included.
        held_until: No call before then; afterwards whoever takes the probe makes one.
        opened_at: When the incident began.
        now: Postgres' time when this was read.
    """

    scope: str
    provider_id: str
    reason: str
    failures: int
    held_until: datetime
    opened_at: datetime
    now: datetime


_HOLDS: Final = (
    select(
        provider_holds.c.scope,
        provider_holds.c.provider_id,
        provider_holds.c.reason,
        provider_holds.c.failures,
        provider_holds.c.held_until,
        provider_holds.c.opened_at,
        func.clock_timestamp(),
    )
    .where(provider_holds.c.held_until.is_not(None))
    .order_by(provider_holds.c.scope)
)


class HoldStore:
    """Opens, probes and closes holds; each call is one transaction. Raises `ServiceUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._auto = autocommit(engine)

    def holds(self) -> list[Hold]:
        """Return all open holds."""
        with single(self._auto) as connection:
            return [Hold(*row) for row in connection.execute(_HOLDS)]

    def open_hold(
        self, scope: str, *, provider_id: str, reason: str, held_until: datetime, alert: AlertSpec | None
    ) -> int:
        """Hold calls back until then; returns how often that happened in a row, this time included.

        An open hold is prolonged and never shortened. The alert, if any, is opened or counted in the same
        transaction.
        """
        statement = upsert(provider_holds).values(
            scope=scope,
            provider_id=provider_id,
            reason=reason,
            held_until=held_until,
            opened_at=func.clock_timestamp(),
        )
        opening = statement.on_conflict_do_update(
            index_elements=[provider_holds.c.scope],
            set_={
                "provider_id": statement.excluded.provider_id,
                "reason": statement.excluded.reason,
                "failures": provider_holds.c.failures + 1,
                "held_until": func.greatest(provider_holds.c.held_until, statement.excluded.held_until),
                "opened_at": func.coalesce(provider_holds.c.opened_at, statement.excluded.opened_at),
                "updated_at": func.clock_timestamp(),
            },
        ).returning(provider_holds.c.failures)
        with transaction(self._engine) as connection:
            failures: int = connection.execute(opening).scalar_one()
            if alert is not None:
                open_alert(connection, alert)
            return failures

    def take_probe(self, scope: str, *, expected: datetime, until: datetime) -> bool:
        """Take the right to the one call that finds out whether the trouble is over.

        Exactly one of the processes that saw the same `expected` gets it.

        Args:
            expected: The hold's `held_until` as read; it must have passed.
            until: How long the others wait for the probe to come to something.
        """
        taking = (
            update(provider_holds)
            .where(
                provider_holds.c.scope == scope,
                provider_holds.c.held_until == expected,
                provider_holds.c.held_until <= func.clock_timestamp(),
            )
            .values(held_until=until, updated_at=func.clock_timestamp())
        )
        with single(self._auto) as connection:
            return connection.execute(taking).rowcount == 1

    def return_probe(self, scope: str, *, until: datetime) -> None:
        """Give a probe back that was not made: the next one who asks may take it.

        Args:
            until: As in `take_probe`; if the hold has been prolonged since, nothing is done.
        """
        returning = (
            update(provider_holds)
            .where(provider_holds.c.scope == scope, provider_holds.c.held_until == until)
            .values(held_until=func.clock_timestamp(), updated_at=func.clock_timestamp())
        )
        with single(self._auto) as connection:
            connection.execute(returning)

    def close_hold(self, scope: str, *, called_at: datetime, cause: str | None = None) -> bool:
        """Let calls through again; False if the scope was not held, or was held anew since the call began.

        Args:
            called_at: When the call began whose success is the reason.
            cause: Of the alert that is resolved in the same transaction; None resolves nothing.
        """
        # Gone, not kept as closed: there may be as many scopes as a provider has tenants, and every worker
        # reads the table once a second.
        closing = delete(provider_holds).where(
            provider_holds.c.scope == scope,
            provider_holds.c.held_until.is_not(None),
            provider_holds.c.updated_at <= called_at,
        )
        with transaction(self._engine) as connection:
            closed = connection.execute(closing).rowcount == 1
            if closed and cause is not None:
                resolve_cause(connection, cause)
            return closed
