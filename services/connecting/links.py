"""Connect links: who is to connect what, signed, and good for a few minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.signing import LONGEST, Signer

#: How long a link may wait to be opened.
LIFETIME: Final = timedelta(minutes=10)


class Link(BaseModel):
    """What a link says. It is signed and readable: nothing in it is a secret.

    Attributes:
        account_id: Which account is meant; "": the connection without one; None: whichever the person
            chooses.
        variables: What the definition's URLs are filled with.
        expires_at: Unix seconds by Postgres' clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    provider_id: str
    user_id: str
    account_id: str | None = None
    scopes: tuple[str, ...] = ()
    redirect_to: str | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    expires_at: int

    @property
    def ends(self) -> datetime:
        """When it may not be opened any more."""
        return datetime.fromtimestamp(self.expires_at, UTC)


class Links:
    """Writes and reads links. Thread-safe."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def write(self, link: Link) -> str | None:
        """Return the link's token; None where it would be longer than we take back."""
        token = self._signer.sign(link.model_dump_json(exclude_defaults=True).encode())
        return token if len(token) <= LONGEST else None

    def read(self, token: str, provider_id: str) -> Link | None:
        """Return what a token says; None for one that we did not sign, or signed for another provider."""
        text = self._signer.verify(token)
        if text is None:
            return None
        try:
            link = Link.model_validate_json(text)
        except ValidationError:
            # Signed by another version of this code.
            return None
        return link if link.provider_id == provider_id else None
