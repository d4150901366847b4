"""What holds for a whole provider: breakers, waves of refusals, revocations on their way."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, Uuid, text

from storage.schema.base import instant, metadata

provider_holds = Table(
    "provider_holds",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("1")),
    instant("held_until"),
    instant("opened_at"),
    instant("updated_at", required=True),
    comment="Breakers that all workers share; a row with no held_until is closed.",
)

verdict_holds = Table(
    "verdict_holds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("tenant", Text),
    # Of the distinct connections presented in the ten minutes before: how many there were, how many refused.
    Column("presented", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    instant("opened_at", required=True),
    instant("ended_at"),
    Column("ended_as", Text),
    CheckConstraint("ended_as IN ('recovered', 'confirmed', 'dismissed', 'abandoned')", name="ended_as"),
    CheckConstraint("(ended_at IS NULL) = (ended_as IS NULL)", name="end_is_whole"),
    Index("uq_verdict_holds_open_scope", "scope", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_verdict_holds_scope_ended_at", "scope", "ended_at"),
    comment="Waves of refusals: while one is open, nobody in its scope is declared dead.",
)

pending_revocations = Table(
    "pending_revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    # No foreign key: the connection may be gone by the time its grant is revoked.
    Column("connection_id", Uuid, nullable=False),
    Column("grant_id", Uuid, nullable=False),
    Column("provider_id", Text, nullable=False),
    # Whose grant it is: what tells whether a living connection shares it by the time it is revoked.
    Column("user_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("tenant", Text),
    Column("why", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("token_kind", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    instant("next_at", required=True),
    instant("created_at", required=True),
    CheckConstraint("token_kind IN ('refresh_token', 'access_token')", name="token_kind"),
    Index("ix_pending_revocations_next_at", "next_at"),
    comment="Tokens of ended grants on their way to the provider's revocation endpoint; erased after it.",
)
