"""Waves of refusals: when death sentences are withheld, what becomes of a refusal then, and when it is over.

One refused grant is one user's matter. Many at once are more likely a provider's mistake, and a grant that is
declared dead for one is lost: its user would have to connect again. So a wave opens a *verdict hold*. Pure
functions; every instant is Postgres' clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from domain.backoff import backoff
from domain.policy import NeedsReauth, Verdict, Withheld
from domain.token import TokenState

#: What a row says, and its activity, of a refusal that was no death sentence because there were so many.
UNDER_HOLD: Final = "refused_under_hold"
#: A wave is counted over this time.
WINDOW: Final = timedelta(minutes=10)
#: Fewer refusals than this are never a wave; smaller groups are judged one by one.
LEAST_REFUSED: Final = 5
#: Part of the distinct connections presented within the window that makes a wave, as one in so many.
WAVE_ONE_IN: Final = 5
#: Whether a wave is over is judged by this time.
QUIET: Final = timedelta(minutes=2)
#: Part of the distinct connections presented in the quiet time that may be refused, as one in so many.
QUIET_ONE_IN: Final = 20
#: As many others as this, or as many as there are, must have succeeded since the last new refusal.
MOST_SUCCESSES_WANTED: Final = 5
#: An operator's word that the refusals are true holds for this long.
CONFIRMED_FOR: Final = timedelta(hours=24)
#: Tokens that are tried again after a dismissal are spread over this long a token, and over no longer in all.
SPREAD_PER_TOKEN: Final = timedelta(milliseconds=100)
LONGEST_SPREAD: Final = timedelta(minutes=10)


class Ending(StrEnum):
    """How a verdict hold ended."""

    RECOVERED = "recovered"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"
    #: Nothing is called in its scope any more: the client id or the endpoint was changed.
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Calm:
    """How a group with an open hold is doing.

    Attributes:
        presented: Distinct connections presented in the quiet time.
        newly_refused: Of them those whose refresh token was refused for the first time.
        refused: Of them those that were refused at all, for the first time or again.
        come_back: Connections that were refused in this wave and have succeeded since, lately.
        succeeded: Distinct connections that are not refused and have succeeded since the last new refusal,
            however long ago that was; need not be counted beyond `MOST_SUCCESSES_WANTED`.
        others: Living connections of the group that are not refused; need not be counted beyond
            `MOST_SUCCESSES_WANTED`.
        waiting: Refused connections of the wave that are still to be judged; need not be counted beyond 1.
    """

    presented: int
    newly_refused: int
    refused: int
    come_back: int
    succeeded: int
    others: int
    waiting: int


def is_wave(*, refused: int, presented: int) -> bool:
    """Say whether so many newly refused of so many distinct presented connections are a wave."""
    # What is being refused may not have its line in the record yet.
    presented = max(refused, presented)
    return refused >= LEAST_REFUSED and refused * WAVE_ONE_IN >= presented


def is_over(calm: Calm) -> bool:
    """Say whether the others of the group succeed at their usual rate, so that the refused can be judged.

    Once a refused grant has come back, a refusal by this provider proves nothing for the moment. Then those
    who are refused again count like those who are refused for the first time. And where nobody is left to be
    judged, because all have come back, connected anew or gone, nobody has to succeed first.
    """
    refused = calm.refused if calm.come_back else calm.newly_refused
    if refused * QUIET_ONE_IN > calm.presented:
        return False
    return not calm.waiting or calm.succeeded >= max(1, min(MOST_SUCCESSES_WANTED, calm.others))


def may_open(ending: Ending | None, ended_at: datetime | None, *, now: datetime) -> bool:
    """Say whether a wave may open a hold; an operator's confirmation of the scope's last one forbids it.

    Args:
        ending: How the scope's last hold ended; None: there was none.
    """
    if ending is not Ending.CONFIRMED or ended_at is None:
        return True
    return now >= ended_at + CONFIRMED_FOR


def withheld(verdict: Verdict, token: TokenState, *, now: datetime, jitter: float) -> Verdict:
    """Return what a failure means while a hold is open: what would have been a death is tried again.

    Nobody is told of the connection: the hold's own alert tells of all of them. A doubt stays one.
    """
    if not isinstance(verdict.token, NeedsReauth):
        return verdict
    wait = backoff(token.failures + 1, lifetime=token.lifetime, jitter=jitter)
    return replace(verdict, token=Withheld(now + wait), worth_an_alert=False)


def spread(tokens: int) -> timedelta:
    """Return over how long so many tokens are tried again, so that they do not come all at once."""
    return min(LONGEST_SPREAD, SPREAD_PER_TOKEN * tokens)
