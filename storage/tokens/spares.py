"""Spares: answers that came too late for their version, tried before a grant is declared dead."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    select,
    update,
)

from domain.policy import PRESENTED_TWICE
from domain.token import Credentials, Status
from storage.activity import Note, record
from storage.alerts import resolve_connections
from storage.engine import transaction
from storage.schema import spare_tokens, tokens
from storage.sealing import Sealer
from storage.tokens.base import StoreBase
from storage.tokens.landing_statements import RIVAL_ENDED, SPENT_WITH_CURRENT
from storage.tokens.rows import spare_ref, token_ref

_STANDING: Final = (
    select(
        tokens.c.provider_id,
        tokens.c.status,
        tokens.c.alerted,
        tokens.c.refresh_digest,
        tokens.c.spent_digests,
    )
    .where(
        tokens.c.connection_id == bindparam("wanted_id"),
        tokens.c.grant_id == bindparam("of_grant"),
        tokens.c.version == bindparam("at_version"),
    )
    .with_for_update(key_share=True)
)
_SPARES: Final = (
    select(spare_tokens)
    .where(
        spare_tokens.c.connection_id == bindparam("wanted_id"),
        spare_tokens.c.grant_id == bindparam("of_grant"),
        spare_tokens.c.refresh_token.is_not(None),
    )
    .order_by(spare_tokens.c.version.desc(), spare_tokens.c.received_at.desc())
)


class Spares(StoreBase):
    """The part of the token store that brings spares back."""

    def promote_spare(self, connection_id: UUID, *, grant_id: UUID, version: int, attempt_id: UUID) -> bool:
        """Make the grant's newest unspent spare the row's next version, due at once; False if there is none.

        Called before a grant is declared dead, by the attempt that was refused. The row's refused refresh
        token joins the spent ones, so that each spare is tried once. Spares without a refresh token are no
        help and stay.

        Args:
            version: The version that was refused; if the row has moved on from it, nothing is done.
            attempt_id: The attempt that was refused. Where another one is presenting meanwhile, the spare
                waits until the provider has come to an end with that.

        Raises:
            SealBroken: The spare cannot be opened with this key ring; nothing was changed.
        """
        fence = {"wanted_id": connection_id, "of_grant": grant_id, "at_version": version}
        with self._sealer.pinned() as sealer, transaction(self._engine) as connection:
            row = connection.execute(_STANDING, fence).one_or_none()
            if row is None or row.status == Status.DISCONNECTED:
                return False
            spent = {row.refresh_digest, *row.spent_digests}
            for spare in connection.execute(_SPARES, fence):
                credentials = self._open_spare(spare)
                refresh = credentials.refresh_token
                if refresh is None:
                    raise AssertionError("unreachable: only spares with a refresh token were selected")
                # Not by the stored digest: the ring may have had another first key then.
                if spent.isdisjoint(self._sealer.digests(refresh, connection_id)):
                    access = credentials.access_token
                    self._promote(connection, row, spare, access, refresh, sealer, attempt_id)
                    return True
            return False

    def _promote(
        self,
        connection: Connection,
        row: Row[*tuple[Any, ...]],
        spare: Row[*tuple[Any, ...]],
        access: SecretStr,
        refresh: SecretStr,
        sealer: Sealer,
        refused_by: UUID,
    ) -> None:
        connection_id, attempt_id = spare.connection_id, spare.attempt_id
        promotion = (
            update(tokens)
            .where(tokens.c.connection_id == connection_id)
            .values(
                status=Status.ACTIVE.value,
                version=tokens.c.version + 1,
                key_id=sealer.key_id,
                access_token=sealer.seal(access, token_ref("access_token", connection_id)),
                refresh_token=sealer.seal(refresh, token_ref("refresh_token", connection_id)),
                refresh_digest=sealer.digest(refresh, connection_id),
                spent_digests=tokens.c.spent_digests if row.refresh_digest is None else SPENT_WITH_CURRENT,
                issued_at=spare.issued_at,
                expires_at=spare.expires_at,
                refresh_expires_at=null(),
                dies_at=null(),
                # Without a rival its end is null, which `greatest` passes over.
                refresh_due_at=func.greatest(RIVAL_ENDED, func.clock_timestamp()),
                refresh_enqueued_until=null(),
                not_before=RIVAL_ENDED,
                attempt_id=null(),
                lease_owner=null(),
                lease_until=null(),
                presented_at=null(),
                first_presented_at=null(),
                committed_attempt_id=attempt_id,
                # A spare may be refused like the token before it: failures go on counting.
                # There is a spare because the same refresh token was presented more than once.
                last_error_code=PRESENTED_TWICE,
                reauth_reason=null(),
                refused_at=null(),
                alerted=literal_column("false"),
            )
            .returning(tokens.c.version)
        )
        version: int = connection.execute(promotion, {"by_attempt": refused_by}).scalar_one()
        connection.execute(delete(spare_tokens).where(spare_tokens.c.attempt_id == attempt_id))
        if row.alerted:
            resolve_connections(connection, [connection_id])
        record(
            connection,
            Note("spare_promoted"),
            connection_id=connection_id,
            provider_id=row.provider_id,
            version=version,
            attempt_id=attempt_id,
        )

    def _open_spare(self, spare: Row[*tuple[Any, ...]]) -> Credentials:
        connection_id, attempt_id = spare.connection_id, spare.attempt_id
        return Credentials(
            self._sealer.open(spare.access_token, spare_ref("access_token", connection_id, attempt_id)),
            self._sealer.open(spare.refresh_token, spare_ref("refresh_token", connection_id, attempt_id)),
        )
