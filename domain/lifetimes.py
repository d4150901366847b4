"""How long a grant lives, whatever is done for it: which end comes first, why, and from when it is told.

Pure functions; every instant is Postgres' clock. Nothing here ends a grant: only its provider does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.provider import GrantKind, GrantLimit, ProviderFacts, Rotation

_DAY: Final = timedelta(days=1)
#: An end is told so much of the life before it: a seventh, at least a day, and never more than a third.
_PART: Final = 7
_LEAST: Final = _DAY
_MOST_PART: Final = 3
#: A grant that its provider's own word gives no longer than this is most likely one of an app that is still
#: in testing there (Google: seven days).
TESTING: Final = timedelta(days=8)
#: A token that has been due for longer than this is not being refreshed, whatever keeps it from it; of what
#: lives short, for a twelfth of its life …
STUCK_AFTER: Final = timedelta(hours=1)
_STUCK_PART: Final = 12
#: … but not sooner than this: ticks and queues take their time.
LEAST_STUCK: Final = timedelta(minutes=1)


class EndOf(StrEnum):
    """Why a grant will end, as alerts and the command line name it."""

    #: The refresh token's own life, as the definition tells it.
    REFRESH_TOKEN = "refresh_token_lifetime"  # noqa: S105 - a reason, not a credential
    #: The whole grant's life from the consent.
    GRANT = "grant_lifetime"
    #: Nobody has used the refresh token for long.
    IDLE = "idle"
    #: The provider has said so with its answer.
    TOLD = "told_by_provider"
    #: The same, and so short that the app is most likely in testing there.
    TESTING = "app_in_testing"
    #: There is nothing to refresh it with, and the access token ends.
    NOT_REFRESHABLE = "not_refreshable"


@dataclass(frozen=True, slots=True)
class Life:
    """What is stored of how long a grant lives. None: unknown, or never.

    Attributes:
        connected_at: When the grant began, as far as that is known.
        issued_at: When it was refreshed last, or was issued.
        expires_at: The access token's end.
        refresh_expires_at: When the current refresh token dies by itself: by the provider's own word, else by
            the definition's lifetime.
        dies_at: What the last refresh did not move: the end of a refresh token that refreshing does not
            renew, or of an access token that cannot be refreshed.
        refresh_due_at: When it is to be refreshed next; None: never.
        failures: Consecutive failed refreshes.
        refreshable: There is something to present.
    """

    connected_at: datetime
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    dies_at: datetime | None = None
    refresh_due_at: datetime | None = None
    failures: int = 0
    refreshable: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """One end of a grant.

    Attributes:
        life: How long it lasts, from its beginning to this end.
        renewed: Refreshing moves it: it comes only to a grant that is not refreshed.
    """

    at: datetime
    of: EndOf
    life: timedelta
    renewed: bool = False

    def told_from(self, ahead: timedelta) -> datetime:
        """Return from when on people are told of it, `ahead` before it at most."""
        return self.at - min(ahead, max(self.life / _PART, min(_LEAST, self.life / _MOST_PART)))

    def stuck_after(self) -> timedelta:
        """Return for how long a token may be due before nobody counts on its refresh any more."""
        return max(LEAST_STUCK, min(STUCK_AFTER, self.life / _STUCK_PART))


def refresh_token_end(
    facts: ProviderFacts, *, began_at: datetime, told: timedelta | None, renewed: bool
) -> datetime | None:
    """Return when the refresh token of an answer dies by itself; None: unknown, never, or as known before.

    Args:
        began_at: When the request began that the answer belongs to.
        told: The answer's own word, which counts before the definition's.
        renewed: The answer brought another refresh token than was presented, or the first one.
    """
    if told is not None:
        return began_at + told
    if not renewed or facts.refresh_token_lifetime is None:
        return None
    return began_at + facts.refresh_token_lifetime


def ends(facts: ProviderFacts, life: Life) -> Iterator[End]:
    """Yield every end that is known, in no particular order."""
    if facts.grant_lifetime is not None:
        yield End(life.connected_at + facts.grant_lifetime, EndOf.GRANT, facts.grant_lifetime)
    if not life.refreshable or facts.grant is not GrantKind.REFRESH_TOKEN:
        if not life.refreshable and life.expires_at is not None:
            began = life.issued_at or life.connected_at
            yield End(life.expires_at, EndOf.NOT_REFRESHABLE, max(life.expires_at - began, timedelta(0)))
        return
    own = _of_refresh_token(facts, life)
    if own is not None:
        yield own
    idle = facts.refresh_token_idle_lifetime
    # A provider's own word on how long the token lives leaves nothing to the definition's.
    if idle is not None and life.issued_at is not None and (own is None or facts.refresh_token_lifetime):
        yield End(life.issued_at + idle, EndOf.IDLE, idle, renewed=True)


def _of_refresh_token(facts: ProviderFacts, life: Life) -> End | None:
    own, at = facts.refresh_token_lifetime, life.refresh_expires_at
    if at is None:
        if own is None or facts.rotation is not Rotation.NONE:
            return None
        return End(life.connected_at + own, EndOf.REFRESH_TOKEN, own)
    renewed = life.dies_at is None
    if own is not None:
        return End(at, EndOf.REFRESH_TOKEN, own, renewed)
    renewed = renewed or _renewed_now_and_then(facts, life, at)
    began = life.connected_at if not renewed else life.issued_at or life.connected_at
    whole = max(at - began, timedelta(0))
    return End(at, EndOf.TESTING if whole <= TESTING and not renewed else EndOf.TOLD, whole, renewed)


def _renewed_now_and_then(facts: ProviderFacts, life: Life, at: datetime) -> bool:
    """A provider that replaces the refresh token at some refreshes only has not done so at the last one.

    That one left more than half of what an unused token lives, so that nothing says that it will not.
    """
    idle = facts.refresh_token_idle_lifetime
    if facts.rotation is Rotation.NONE or idle is None or life.issued_at is None:
        return False
    return at - life.issued_at > idle / 2


def _outlived(life: Life, end: End) -> bool:
    """A refresh has succeeded after it: the provider knows better than its pages."""
    return life.issued_at is not None and life.issued_at > end.at


def has_outlived(facts: ProviderFacts, life: Life) -> bool:
    """Say whether a grant lives on after an end that was known of it."""
    return any(_outlived(life, end) for end in ends(facts, life))


def _stuck(life: Life, end: End, now: datetime) -> bool:
    due = life.refresh_due_at
    return life.failures > 0 or (due is not None and due + end.stuck_after() <= now)


def nearest(facts: ProviderFacts, life: Life) -> End | None:
    """Return the end that comes first if it is refreshed as it should be, else the first of the others.

    Of a grant whose refreshes fail it is whichever comes first.
    """
    return min(
        (end for end in ends(facts, life) if not _outlived(life, end)),
        key=lambda end: (end.renewed and life.failures == 0, end.at),
        default=None,
    )


def forecast(facts: ProviderFacts, life: Life, *, now: datetime, ahead: timedelta) -> End | None:
    """Return the first end that somebody should be told of now; None: none.

    An end that refreshing moves counts only where it is not being refreshed. One after which a refresh has
    succeeded was none.

    Args:
        ahead: How long before it people want to hear of it; of what lives short they hear later.
    """
    told = (
        end
        for end in ends(facts, life)
        if end.told_from(ahead) <= now
        and not _outlived(life, end)
        and (not end.renewed or _stuck(life, end, now))
    )
    return min(told, key=lambda end: end.at, default=None)


def near_limit(limit: GrantLimit) -> int:
    """Return from how many live grants of one account on its limit is near: a tenth is left, at least one."""
    return max(1, limit.max - max(1, limit.max // 10))
