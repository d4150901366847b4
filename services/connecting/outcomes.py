"""How an attempt to connect ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from domain.errors import EvergrantError


class CannotConnect(EvergrantError):
    """A connect link or a device flow cannot be had; the message says why and how to mend it.

    Attributes:
        code: A stable lower-case word.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Failure(StrEnum):
    """Why nothing was connected. Each is the code of the line of activity that tells of it."""

    LINK_INVALID = "link_invalid"
    LINK_EXPIRED = "link_expired"
    UNKNOWN_STATE = "state_unknown"
    EXPIRED_STATE = "state_expired"
    OTHER_PROVIDER = "state_of_another_provider"
    OTHER_BROWSER = "another_browser"
    ISSUER = "issuer_mismatch"
    DENIED = "access_denied"
    PROVIDER_ERROR = "provider_error"
    NO_CODE = "no_code"
    UNAVAILABLE = "provider_unavailable"
    REFUSED = "exchange_refused"
    ACCOUNT_UNKNOWN = "account_unknown"
    OTHER_ACCOUNT = "another_account"
    EXPIRED_DEVICE = "device_expired"


@dataclass(frozen=True, slots=True)
class Finished:
    """What an attempt came to.

    Attributes:
        failure: None: connected.
        connection_id: None: nothing was connected.
        account: The account as people know it, or its id; "" where the provider does not tell.
        missing: Scopes that were asked for and not given.
        kept: The connection lives on with the grant that it had, because this consent brought nothing that
            could be renewed.
        redirect_to: Where the browser goes; None: our own page.
        code: The provider's own word, or ours, where `failure` leaves it open.
    """

    provider_id: str
    display_name: str
    failure: Failure | None = None
    connection_id: UUID | None = None
    account: str = ""
    missing: tuple[str, ...] = ()
    kept: bool = False
    redirect_to: str | None = None
    code: str | None = None
