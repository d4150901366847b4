"""The statements of an import: rows go in and out as sets, a batch a statement."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema import SPENT_KEPT

EXISTING: Final = text("""
    SELECT c.id, c.user_id, c.provider_id, c.account_id, t.status, t.refresh_digest, t.spent_digests,
           t.presented_at
      FROM unnest(CAST(:users AS text[]), CAST(:providers AS text[]), CAST(:accounts AS text[]))
           AS wanted (user_id, provider_id, account_id)
      JOIN connections c USING (user_id, provider_id, account_id)
      JOIN tokens t ON t.connection_id = c.id
     -- Always in the same order: two imports of the same file must not wait for each other in a circle.
     ORDER BY c.id
       FOR NO KEY UPDATE OF t
""")
CREATE: Final = text("""
    INSERT INTO connections (id, user_id, provider_id, account_id, scope, metadata, connected_at)
    SELECT id, user_id, provider_id, account_id, scope, metadata, coalesce(connected_at, clock_timestamp())
      FROM jsonb_to_recordset(:rows)
           AS r (id uuid, user_id text, provider_id text, account_id text, scope text[], metadata jsonb,
                 connected_at timestamptz)
     ORDER BY user_id, provider_id, account_id
        ON CONFLICT DO NOTHING
    RETURNING id
""").bindparams(bindparam("rows", type_=JSONB))
UPDATE_DETAILS: Final = text("""
    UPDATE connections c
       SET scope = r.scope, metadata = r.metadata, updated_at = clock_timestamp(),
           connected_at = CASE WHEN r.connected THEN coalesce(r.connected_at, clock_timestamp())
                               ELSE c.connected_at END
      FROM jsonb_to_recordset(:rows)
           AS r (id uuid, scope text[], metadata jsonb, connected_at timestamptz, connected boolean)
     WHERE c.id = r.id AND (r.connected OR c.scope <> r.scope OR c.metadata <> r.metadata)
    RETURNING c.id
""").bindparams(bindparam("rows", type_=JSONB))
MOVE_TENANTS: Final = text("""
    UPDATE tokens t SET tenant = r.tenant
      FROM jsonb_to_recordset(:rows) AS r (id uuid, tenant text)
     WHERE t.connection_id = r.id AND t.tenant IS DISTINCT FROM r.tenant
""").bindparams(bindparam("rows", type_=JSONB))
INSERT_TOKENS: Final = text("""
    INSERT INTO tokens (connection_id, provider_id, grant_id, key_id, access_token, refresh_token,
                        refresh_digest, issued_at, expires_at, refresh_expires_at, dies_at,
                        refresh_due_at, check_due_at, refreshable, tenant)
    SELECT connection_id, provider_id, grant_id, key_id, access_token, refresh_token, refresh_digest,
           issued_at, expires_at, refresh_expires_at, dies_at, refresh_due_at, check_due_at, refreshable,
           tenant
      FROM jsonb_populate_recordset(CAST(NULL AS tokens), :rows)
""").bindparams(bindparam("rows", type_=JSONB))
# A live lease goes as well: its holder presents a token of the old grant, whose answer never lands here.
# What was known to be spent stays known, and a refresh token that goes while its presentation is unresolved
# may be spent by now: should an old file bring it again, it is refused.
REPLACE_TOKENS: Final = text("""
    UPDATE tokens t
       SET status = 'active', version = t.version + 1, grant_id = r.grant_id, key_id = r.key_id,
           access_token = r.access_token, refresh_token = r.refresh_token,
           spent_digests = CASE
               WHEN t.presented_at IS NOT NULL AND t.refresh_digest IS NOT NULL
                    AND t.connection_id = ANY(CAST(:rotating AS uuid[]))
               THEN (array_prepend(t.refresh_digest, t.spent_digests))[1\\:CAST(:spent_kept AS integer)]
               ELSE t.spent_digests END,
           refresh_digest = r.refresh_digest, issued_at = r.issued_at, expires_at = r.expires_at,
           refresh_expires_at = r.refresh_expires_at, dies_at = r.dies_at,
           refresh_due_at = r.refresh_due_at,
           check_due_at = r.check_due_at, refreshable = r.refreshable, tenant = r.tenant, refused_at = NULL,
           refresh_enqueued_until = NULL, check_enqueued_until = NULL, not_before = NULL,
           lease_owner = NULL, lease_until = NULL, attempt_id = NULL, presented_at = NULL,
           first_presented_at = NULL, committed_attempt_id = NULL, failures = 0, check_failures = 0,
           last_error_code = NULL, last_error_at = NULL, last_refreshed_at = NULL,
           last_verified_at = NULL, reauth_reason = NULL, alerted = false
      FROM jsonb_populate_recordset(CAST(NULL AS tokens), :rows) AS r
     WHERE t.connection_id = r.connection_id
""").bindparams(bindparam("rows", type_=JSONB), bindparam("spent_kept", SPENT_KEPT))
NOTE: Final = text("""
    INSERT INTO activity (connection_id, provider_id, kind, version)
    SELECT t.connection_id, t.provider_id, :kind, t.version
      FROM tokens t WHERE t.connection_id = ANY(CAST(:ids AS uuid[]))
""")


def instant_text(moment: datetime | None) -> str | None:
    """Return an instant as Postgres reads it in text."""
    return None if moment is None else moment.isoformat()


def bytes_text(blob: bytes | None) -> str | None:
    """Return bytes as Postgres reads them in text."""
    return None if blob is None else "\\x" + blob.hex()
