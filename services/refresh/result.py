"""What a refresh came to, in the words of `evergrant.refresh_token`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.asks import Outcome
from domain.token import TokenState
from services.codes import explained


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The result of one refresh request. No field can hold a secret.

    Attributes:
        connection_id: None where the connection was not found by its names.
        retry_at: When it is worth asking again, by Postgres' clock; None where that would change nothing.
        code: Why there is no fresh token, in a stable word; None where there is nothing to explain.
    """

    outcome: Outcome
    connection_id: UUID | None
    expires_at: datetime | None = None
    version: int | None = None
    retry_at: datetime | None = None
    code: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the JSON shape that the contract promises."""
        return {
            "outcome": str(self.outcome),
            "connection_id": None if self.connection_id is None else str(self.connection_id),
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
            "version": self.version,
            "retry_at": None if self.retry_at is None else self.retry_at.isoformat(),
            "error": explained(self.code),
        }


def of_token(
    token: TokenState, outcome: Outcome, retry_at: datetime | None, code: str | None
) -> RefreshResult:
    """Return a result that tells expiry and version of the token as it is stored."""
    return RefreshResult(outcome, token.connection_id, token.expires_at, token.version, retry_at, code)
