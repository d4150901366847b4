"""Connections that are being made: what must be remembered between a person's leaving and coming back."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from storage.schema.base import instant, metadata

connect_flows = Table(
    "connect_flows",
    metadata,
    Column("id", Uuid, primary_key=True),
    # An authorization code that a browser brings back, or a device code that is asked after (RFC 8628).
    Column("kind", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    # Which account is meant; null: whichever the person chooses.
    Column("account_id", Text),
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("variables", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("redirect_uri", Text),
    Column("redirect_to", Text),
    # SHA-256 of what the provider hands back, and of what the browser keeps. Neither is stored.
    Column("state_hash", LargeBinary),
    Column("browser_hash", LargeBinary),
    # The PKCE verifier or the device code, sealed; null where the provider knows no PKCE.
    Column("key_id", Text, nullable=False),
    Column("secret", LargeBinary),
    Column("poll_seconds", Integer),
    instant("next_poll_at"),
    instant("created_at", required=True),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
    # How a device flow ended, for whoever asks after it; null: it has not.
    Column("ended_as", Text),
    Column("connection_id", Uuid),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    CheckConstraint("kind IN ('code', 'device')", name="kind"),
    CheckConstraint("(kind = 'code') = (state_hash IS NOT NULL)", name="code_has_state"),
    CheckConstraint("(state_hash IS NULL) = (browser_hash IS NULL)", name="state_has_browser"),
    CheckConstraint("(kind = 'device') = (poll_seconds IS NOT NULL)", name="device_is_polled"),
    CheckConstraint("(poll_seconds IS NULL) = (next_poll_at IS NULL)", name="poll_is_whole"),
    Index("uq_connect_flows_state_hash", "state_hash", unique=True),
    Index("ix_connect_flows_expires_at", "expires_at"),
    comment="Connections that are being made: taken by the first callback, or erased when they have expired.",
)
