"""What became of tokens that were due at known times: how late, how evenly, in which order. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.chaos.figure import percentile

#: Tokens that were due, or committed, within the same so many seconds are one cohort.
COHORT_SECONDS: Final = 10.0
#: Smaller cohorts, at the edges of a phase, have no distribution to speak of.
_LEAST: Final = 50


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One token: when it was due and when its refresh was committed, in seconds of one clock."""

    due: float
    committed: float

    @property
    def late(self) -> float:
        """Commit minus planned time."""
        return self.committed - self.due


def distribution(done: Sequence[Refreshed]) -> dict[str, float | None]:
    """Return p50, p99 and the greatest lateness in seconds."""
    late = [one.late for one in done]
    return {
        "p50": rounded(percentile(late, 0.5)),
        "p99": rounded(percentile(late, 0.99)),
        "max": rounded(max(late, default=None)),
    }


def evenness(done: Sequence[Refreshed], began: float) -> dict[str, object]:
    """Return how alike lateness is within a cohort, of those due together and of those done together.

    Told are for each cohort its p50 and p99, and over all of them the median and greatest p99 / p50, and
    p99 - p50 in seconds: where nobody is late, a ratio says nothing.
    """
    return {
        "due_together": _cohorts(done, lambda one: one.due - began),
        "done_together": _cohorts(done, lambda one: one.committed - began),
    }


def _cohorts(done: Sequence[Refreshed], of: Callable[[Refreshed], float]) -> dict[str, object]:
    grouped: defaultdict[int, list[float]] = defaultdict(list)
    for one in done:
        grouped[int(of(one) // COHORT_SECONDS)].append(one.late)
    rows, ratios, gaps = [], [], []
    for number, late in sorted(grouped.items()):
        p50, p99 = percentile(late, 0.5), percentile(late, 0.99)
        if len(late) < _LEAST or p50 is None or p99 is None:
            continue
        rows.append([round(number * COHORT_SECONDS), len(late), round(p50, 2), round(p99, 2)])
        gaps.append(p99 - p50)
        if p50 > 0:
            ratios.append(p99 / p50)
    return {
        "p99_to_p50_median": rounded(percentile(ratios, 0.5)),
        "p99_to_p50_max": rounded(max(ratios, default=None)),
        "p99_minus_p50_median_seconds": rounded(percentile(gaps, 0.5)),
        "p99_minus_p50_max_seconds": rounded(max(gaps, default=None)),
        "cohorts_second_count_p50_p99": rows,
    }


def order(done: Sequence[Refreshed]) -> float | None:
    """Return the rank correlation (Spearman) of planned time and commit: 1 is the order of the plan."""
    count = len(done)
    if count < 2:
        return None
    by_due = sorted(range(count), key=lambda place: done[place].due)
    by_commit = sorted(range(count), key=lambda place: done[place].committed)
    rank_of = [0] * count
    for rank, place in enumerate(by_due):
        rank_of[place] = rank
    apart = sum((rank - rank_of[place]) ** 2 for rank, place in enumerate(by_commit))
    return round(1 - 6 * apart / (count * (count**2 - 1)), 5)


def per_second(done: Sequence[Refreshed], *, edge: float = 0.1) -> float | None:
    """Return the commits a second in the middle of so many: the first and last part are not counted."""
    times = sorted(one.committed for one in done)
    first, last = int(len(times) * edge), int(len(times) * (1 - edge)) - 1
    if last <= first or times[last] <= times[first]:
        return None
    return round((last - first) / (times[last] - times[first]), 1)


def rounded(value: float | None) -> float | None:
    """Return it to the millisecond."""
    return None if value is None else round(value, 3)
