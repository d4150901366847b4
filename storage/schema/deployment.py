"""The deployment around the database: its processes, and its own row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.schema.base import instant, metadata

processes = Table(
    "processes",
    metadata,
    # What `tokens.lease_owner` says.
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    instant("started_at", required=True),
    instant("seen_at", required=True),
    # Every presentation that this process stamped before then is resolved: landed, recorded or released.
    instant("settled_until", required=True),
    # Somebody made sure that it has ended, and that nothing of it is left to land.
    instant("gone_at"),
    # Answers of it that are received and not landed: in its spool or in Redis, and in its memory alone.
    Column("staged", Integer, nullable=False, server_default=text("0")),
    Column("unsafe", Integer, nullable=False, server_default=text("0")),
    # The fingerprints of the keys that it can open with, and the ids of those that seal what is in its spool.
    Column("key_ids", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("staged_key_ids", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    # The key that it seals with, once nothing that it sealed with another one is on its way any more.
    Column("sealing_key_id", Text),
    comment="Who presents, and how far each has settled: what recovery and key rotation wait for.",
)

deployment = Table(
    "deployment",
    metadata,
    # One row.
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    # The fingerprint of the key that seals, agreed by all processes; null until the first one starts.
    Column("sealing_key", Text),
    # Those of the keys that sealed before it. No process proposes one of them again by itself.
    Column("former_keys", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    # Under which this database was last known to be right: system identifier, timeline and oid.
    Column("identity", Text),
    # Lines of activity that were seen before this table's own: of states that were given up for an older one.
    Column("line_offset", BigInteger, nullable=False, server_default=text("0")),
    # Since when nothing of rotating providers is presented, because this looks like a restored backup.
    instant("guarded_since"),
    Column("guard_found", JSONB),
    CheckConstraint("singleton", name="one_row"),
    comment="What this database knows of the deployment around it.",
)
