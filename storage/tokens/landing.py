"""Landings: a provider's answer becomes the row's next version, once, whoever holds the lease by then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import (
    Connection,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.schedule import Schedule
from domain.token import Credentials, Status
from storage.activity import Note, record, recorded
from storage.alerts import resolve_connections
from storage.engine import single, transaction
from storage.schema import spare_tokens
from storage.sealing import Sealer
from storage.tokens.base import StoreBase
from storage.tokens.landing_statements import LAND, STANDING
from storage.tokens.rows import spare_ref, token_ref

REFRESHED: Final = Note("refreshed")


@dataclass(frozen=True, slots=True)
class Landing:
    """An answer on its way into the row.

    Attributes:
        presented_version: The version whose refresh token was presented; the fence.
        credentials: As answered. Without a refresh token the old one is kept if `keep_refresh`, else erased.
        keep_refresh: The answer omitted the refresh token: the old one stays (RFC 6749 §6).
        schedule: Of the new access token.
        scope: Only where it differs from what is stored; None leaves it alone.
        refresh_expires_at: When the refresh token dies by itself; None means unknown or never.
        note: What goes into the activity log.
    """

    connection_id: UUID
    grant_id: UUID
    presented_version: int
    attempt_id: UUID
    credentials: Credentials
    schedule: Schedule
    keep_refresh: bool = False
    scope: tuple[str, ...] | None = None
    refresh_expires_at: datetime | None = None
    note: Note = REFRESHED


@dataclass(frozen=True, slots=True)
class Landed:
    """The answer is the row's current version now. `was_alerted`: open alerts about it were resolved."""

    version: int
    was_alerted: bool


@dataclass(frozen=True, slots=True)
class AlreadyLanded:
    """This attempt's answer had landed, or been put aside, before; nothing was written now."""

    version: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """The row had moved on to another version; the answer is kept as a spare of its grant."""

    current_version: int


@dataclass(frozen=True, slots=True)
class Gone:
    """There is nothing to land on; the answer was not stored, and its tokens should be revoked.

    Attributes:
        why: The connection does not exist any more, the user has connected anew, or has disconnected.
    """

    why: Literal["missing", "other_grant", "disconnected"]


LandResult = Landed | AlreadyLanded | Superseded | Gone


class Landings(StoreBase):
    """The part of the token store that lands answers."""

    def land(self, landing: Landing) -> LandResult:
        """Make the answer the row's next version, if the presented version is still the row's.

        In a database that was put back to an older state the row's version may be an older one; the answer is
        the newest there is of its grant then, and lands all the same.

        Status and lease do not matter: a late answer lands in a row that is in doubt or was declared dead,
        and resolves its alerts. May be repeated with the same landing any number of times.

        Sealed on the caller's own thread, and then written together with whatever other threads have sealed
        meanwhile. Its key counts as under way until the commit.

        Raises:
            ServiceUnavailable: Whether it landed is unknown; land it again.
        """
        with self._sealer.pinned() as sealer:
            return self._land(landing, sealer)

    def _land(self, landing: Landing, sealer: Sealer) -> LandResult:
        parameters = self._parameters(landing, sealer)
        if landing.scope is None:
            version = self._groups.land(parameters)
            if version is not None:
                return Landed(version, was_alerted=False)
        with single(self._auto) as connection:
            version = connection.execute(
                LAND[False, landing.scope is not None], parameters
            ).scalar_one_or_none()
        if version is not None:
            return Landed(version, was_alerted=False)
        with transaction(self._engine) as connection:
            return self._land_otherwise(connection, landing, parameters, sealer)

    def _parameters(self, landing: Landing, sealer: Sealer) -> dict[str, Any]:
        connection_id, refresh = landing.connection_id, landing.credentials.refresh_token
        digests = [] if refresh is None else sealer.digests(refresh, connection_id)
        schedule = landing.schedule
        access = sealer.seal(landing.credentials.access_token, token_ref("access_token", connection_id))
        parameters: dict[str, Any] = {
            "wanted_id": connection_id,
            "of_grant": landing.grant_id,
            "presented_version": landing.presented_version,
            "by_attempt": landing.attempt_id,
            "sealed_by": sealer.key_id,
            "keep_refresh": landing.keep_refresh and refresh is None,
            "new_access": access,
            "new_refresh": None
            if refresh is None
            else sealer.seal(refresh, token_ref("refresh_token", connection_id)),
            "new_digest": digests[0] if digests else None,
            "same_digests": digests,
            "new_issued_at": schedule.issued_at,
            "new_expires_at": schedule.expires_at,
            "new_refresh_expires_at": landing.refresh_expires_at,
            "new_refresh_due_at": schedule.refresh_due_at,
            "new_check_due_at": schedule.check_due_at,
            **landing.note.parameters(landing.attempt_id),
        }
        if landing.scope is not None:
            parameters["new_scope"] = list(landing.scope)
        return parameters

    def _land_otherwise(
        self,
        connection: Connection,
        landing: Landing,
        parameters: dict[str, Any],
        sealer: Sealer,
    ) -> LandResult:
        """Land where alerts are to be resolved, or say why the answer does not land and keep it."""
        digests = parameters["same_digests"]
        row = connection.execute(STANDING, parameters).one_or_none()
        if row is None:
            return Gone("missing")
        if row.grant_id != landing.grant_id:
            return Gone("other_grant")
        if row.status == Status.DISCONNECTED:
            return Gone("disconnected")
        if row.committed_attempt_id == landing.attempt_id:
            return AlreadyLanded(row.version)
        # Versions only rise: one that is behind what was presented was put back with its database, and this
        # answer is newer than all that the row knows. Without a refresh token of its own it would leave the
        # row with one that has been spent since, so then it is only kept.
        behind = row.version < landing.presented_version and not parameters["keep_refresh"]
        if behind or row.version == landing.presented_version:
            version = connection.execute(LAND[True, landing.scope is not None], parameters).scalar_one()
            resolve_connections(connection, [landing.connection_id])
            return Landed(version, was_alerted=row.alerted)
        if not set(digests).isdisjoint(row.spent_digests) or recorded(
            connection, landing.note.kind, connection_id=landing.connection_id, attempt_id=landing.attempt_id
        ):
            # It landed long ago: its refresh token was the row's once and has been replaced since, or, where
            # the answer had none, the attempt's own line says so.
            return AlreadyLanded(row.version)
        if self._put_aside(connection, landing, digests, sealer):
            kept = Note("answer_superseded", detail={"presented_version": landing.presented_version})
            record(
                connection,
                kept,
                connection_id=landing.connection_id,
                provider_id=row.provider_id,
                version=row.version,
                attempt_id=landing.attempt_id,
            )
            return Superseded(row.version)
        return AlreadyLanded(row.version)

    def _put_aside(
        self, connection: Connection, landing: Landing, digests: list[bytes], sealer: Sealer
    ) -> bool:
        """Keep the answer as a spare; False if it is one already."""
        connection_id, attempt_id = landing.connection_id, landing.attempt_id
        access, refresh = landing.credentials.access_token, landing.credentials.refresh_token
        spare = {
            "attempt_id": attempt_id,
            "connection_id": connection_id,
            "grant_id": landing.grant_id,
            "version": landing.presented_version,
            "key_id": sealer.key_id,
            "access_token": sealer.seal(access, spare_ref("access_token", connection_id, attempt_id)),
            "refresh_token": None
            if refresh is None
            else sealer.seal(refresh, spare_ref("refresh_token", connection_id, attempt_id)),
            "refresh_digest": digests[0] if digests else None,
            "issued_at": landing.schedule.issued_at,
            "expires_at": landing.schedule.expires_at,
        }
        insertion = upsert(spare_tokens).values(spare).on_conflict_do_nothing()
        return connection.execute(insertion.returning(spare_tokens.c.attempt_id)).one_or_none() is not None
