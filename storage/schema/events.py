"""What providers push to us: the messages that were taken, and the digests by which credentials are found."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from storage.schema.base import instant, metadata

received_events = Table(
    "received_events",
    metadata,
    # Who sent it: the issuer, or the provider. Ids are unique there.
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    # Where it came in.
    Column("provider_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("account_id", Text),
    instant("happened_at"),
    instant("received_at", required=True),
    Column("outcome", Text, nullable=False, server_default="nothing"),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("source", "event_id"),
    Index("ix_received_events_received_at", "received_at"),
    # Whether an account was enabled after it was disabled, when the two come in the wrong order.
    Index(
        "ix_received_events_enabled",
        "source",
        "account_id",
        "happened_at",
        postgresql_where=text("meaning = 'enabled'"),
    ),
    comment="Messages that providers have pushed, for some weeks: a repeated one does nothing.",
)

event_digests = Table(
    "event_digests",
    metadata,
    Column("connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("grant_id", Uuid, nullable=False),
    Column("key_id", Text, nullable=False),
    # HMAC of the hash by which the provider names the refresh token.
    Column("digest", LargeBinary, nullable=False),
    # The row's own, of the refresh token that this was made of: tells whether it is out of date.
    Column("refresh_digest", LargeBinary, nullable=False),
    Index("ix_event_digests_digest", "digest"),
    comment="Finds the refresh token that a provider names by its hash; of providers that do so alone.",
)
