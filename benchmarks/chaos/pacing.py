"""Was a failing connection presented sooner than its backoff allows. Pure."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Final

from benchmarks.chaos.figure import Figure, Item, ago
from benchmarks.chaos.matching import Case, Matched
from domain.backoff import backoff

#: Two clocks of one machine, and the moment between the answer's last byte and the decision.
_SLACK: Final = 0.1
#: Activity that counts as a failure in a row; a lapsed lease is noted and not counted.
_FAILURES: Final = frozenset({"refresh_failed", "in_doubt", "set_aside"})
_ENDS: Final = frozenset({"refreshed", "imported", "credentials_replaced"})


def shortest_wait(failures: int, least_lifetime: float) -> float:
    """Return the seconds that must pass after so many failures in a row, whatever the dice say."""
    wait = backoff(failures, lifetime=timedelta(seconds=least_lifetime), jitter=0.0)
    return wait.total_seconds()


def too_soon(case: Case) -> Figure:
    """After the n-th failure in a row a connection rests for at least half of the backoff's n-th step."""
    broken: list[Item] = []
    judged = 0
    for grant_id, items in case.of_grant.items():
        for item, following in pairwise(items):
            failures = _failures_until(case, item)
            if failures == 0:
                continue
            judged += 1
            rested = following.seen.started_at - item.seen.ended_at
            least = shortest_wait(failures, case.facts.least_lifetime)
            if rested < least - _SLACK:
                broken.append(
                    {
                        "grant": grant_id,
                        "failures": failures,
                        "failed": ago(item.seen.ended_at, case.evidence.began),
                        "rested": round(rested, 3),
                        "least": round(least, 3),
                    }
                )
    return Figure("presented_too_soon", "Presentations sooner than the backoff allows", broken, [],
                  {"judged": judged})  # fmt: skip


def _failures_until(case: Case, item: Matched) -> int:
    """Return how many failures in a row the attempt was the last of; 0 if it was not written as a failure."""
    if item.send is None:
        return 0
    in_a_row = 0
    for line in case.lines.get(item.connection_id, ()):
        if line.kind in _ENDS:
            in_a_row = 0
        elif line.kind in _FAILURES and line.code != "lease_lapsed":
            in_a_row += 1
            if line.attempt_id == item.send.attempt_id and line.kind == "refresh_failed":
                return in_a_row
    return 0
