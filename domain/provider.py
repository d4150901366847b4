"""What policy must know of a provider: how it grants, rotates, and how long things live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

#: How long after a presentation the same refresh token may be presented again. The two words are windows
#: without a length: "until_successor_used" ends when the token that replaced it is first used, which a
#: client that never received the successor cannot do; "unlimited" does not end.
ReplayWindow = timedelta | Literal["until_successor_used", "unlimited"]


class GrantKind(StrEnum):
    """How a new access token is had (RFC 6749 §6, §4.4), or that it never expires."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - RFC 6749's name of the grant, not a credential
    CLIENT_CREDENTIALS = "client_credentials"
    NONE = "none"


class Rotation(StrEnum):
    """What happens to a refresh token when it is used (RFC 9700 §4.14)."""

    NONE = "none"
    OPTIONAL = "optional"
    SINGLE_USE = "single_use"


class Replay(StrEnum):
    """What may be done with a refresh token whose presentation was never answered."""

    FREELY = "freely"
    WITHIN_WINDOW = "within_window"
    LAST_RESORT = "last_resort"


@dataclass(frozen=True, slots=True)
class Timing:
    """The durations that must fit together for one presentation.

    Attributes:
        deadline: Total time one HTTP call may take, from the first connect to the last byte.
        lease: How long a claim gives the exclusive right to present; well over `deadline`.
        settling: How long, after the deadline, the provider may still be working on a call we gave up.
    """

    deadline: timedelta
    lease: timedelta
    settling: timedelta


@dataclass(frozen=True, slots=True)
class GrantLimit:
    """How many live grants of one account and client the provider keeps.

    Attributes:
        refused: One more is refused; False: the oldest of the others dies.
    """

    max: int
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """The part of a provider's definition that decisions are made from.

    Attributes:
        access_token_lifetime: Used where an answer names none; None means unknown.
        refresh_token_idle_lifetime: A refresh token unused for this long dies; None means it does not.
        replay_window: None only where `rotation` is NONE.
        check_interval: Pace of health checks; None means no health check is defined.
        refresh_token_lifetime: A refresh token lives this long from when it was issued, used or not, where
            the answer does not tell; None means for ever, or unknown.
        grant_lifetime: From the consent to the end, however often it is refreshed; None means for ever.
        grant_limit: None means that the provider keeps any number.
    """

    provider_id: str
    grant: GrantKind
    rotation: Rotation = Rotation.NONE
    replay_window: ReplayWindow | None = None
    access_token_lifetime: timedelta | None = None
    refresh_token_idle_lifetime: timedelta | None = None
    check_interval: timedelta | None = None
    refresh_token_lifetime: timedelta | None = None
    grant_lifetime: timedelta | None = None
    grant_limit: GrantLimit | None = None
