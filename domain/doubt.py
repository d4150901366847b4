"""When a doubt may be recovered: not while the lost answer may still turn up somewhere.

The process that presented may hold the answer in its memory, in its spool or in Redis. Landing it comes
before any recovery, so recovery waits until that process has reported that everything it presented by then is
settled, until somebody has made sure that it is gone and has left nothing, or until its grace is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.policy import window_has_room
from domain.provider import ProviderFacts, Replay
from domain.timing import replay_of, timing_of
from domain.token import TokenState

#: How long a process that is not heard of may still come back with an answer: a machine that was cut off, a
#: frozen process. Short-lived tokens cannot wait that long; theirs is their lifetime, a minute at least.
LONGEST_GRACE: Final = timedelta(minutes=10)
SHORTEST_GRACE: Final = timedelta(minutes=1)
#: How soon to look again at a doubt that waits for its place.
LOOK_AGAIN: Final = timedelta(seconds=3)
#: Room left in a replay window for the queue, beside the deadline.
WINDOW_MARGIN: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Presenter:
    """The process that presented, as far as it is known. Instants are Postgres' clock.

    Attributes:
        seen_at: When it last reported.
        settled_until: Every presentation that it stamped before then is resolved.
        gone: It has ended, and whoever found out has looked at what it left.
        staged: Answers of it that are known to be staged and have not landed.
    """

    seen_at: datetime
    settled_until: datetime
    gone: bool
    staged: int


def grace(token: TokenState) -> timedelta:
    """Return how long a silent process is waited for."""
    lifetime = token.lifetime
    return LONGEST_GRACE if lifetime is None else min(LONGEST_GRACE, max(SHORTEST_GRACE, lifetime))


def waits_until(
    token: TokenState,
    facts: ProviderFacts,
    presenter: Presenter | None,
    *,
    stuck: bool = False,
    shelf_known: bool = True,
    now: datetime,
) -> datetime | None:
    """Return when to look again at a doubt whose answer may still turn up; None: recover now.

    Args:
        presenter: Who presented; None if nothing is known of it. Who presents is registered, and is forgotten
            only a day after its last word and with nothing staged: its grace is long over.
        stuck: An answer for this connection lies within reach and cannot be opened.
        shelf_known: Spool and Redis have said that they hold nothing else for this connection; False: one of
            them does not answer.
    """
    replay = replay_of(facts)
    if replay is Replay.FREELY:
        return None
    presented_at = token.presented_at or now
    lies_staged = stuck or (presenter is not None and presenter.staged > 0)
    settled = presenter is None or presenter.gone or presenter.settled_until > presented_at
    if settled and shelf_known and not lies_staged:
        return None
    again = now + LOOK_AGAIN
    if replay is Replay.WITHIN_WINDOW and window_has_room(token, facts, now=now):
        # Presenting again is allowed, and only now: the window does not wait.
        last = _last_moment(token, facts)
        return None if last is None or now >= last else min(again, last)
    if lies_staged:
        # It is known to be there: no grace ends that, only its landing or a person.
        return again
    silent_since = presented_at if settled or presenter is None else max(presenter.seen_at, presented_at)
    return None if now >= silent_since + grace(token) else again


def _last_moment(token: TokenState, facts: ProviderFacts) -> datetime | None:
    window, first = facts.replay_window, token.first_presented_at
    if not isinstance(window, timedelta) or first is None:
        return None
    return first + window - timing_of(facts).deadline - WINDOW_MARGIN
