"""Growth: the last quarter of a long run compared with the end of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.load.footprint import Footprint

#: What the promise allows: memory of the last quarter, compared with that at the first quarter's end.
MOST_RATIO: Final = 1.05
#: A hundredth of a whole server's memory says nothing; so much growth of Redis is never a leak, in MB.
NOISE_MEGABYTES: Final = 1.0
#: A sign of life is written every 5 s, and is stale after 30.
STALE_SECONDS: Final = 30.0
#: The end of the first quarter is this part of the way.
_FIRST: Final = (0.20, 0.25)
_LAST: Final = 0.75
_COUNTS: Final = ("threads", "files", "sockets", "sessions", "redis_clients", "spool")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the worker.

    Attributes:
        seconds: Since the first look.
        done: Messages that had left the queue.
        beat_age: Seconds since the worker's event loop last showed its life; None: it had not.
    """

    seconds: float
    done: int
    beat_age: float | None
    held: Footprint


def judged(samples: Sequence[Sample], tasks: int, *, keys: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Judge a run.

    Args:
        tasks: How many it had.
        keys: How many keys Redis had of each form, at equal distances of the way.

    Raises:
        SystemExit: It was too short for a look at both quarters.
    """
    first = [one for one in samples if _FIRST[0] <= one.done / tasks <= _FIRST[1]]
    last = [one for one in samples if one.done / tasks >= _LAST]
    if not first or not last:
        raise SystemExit("too few looks: the run was too short to be judged")
    found: dict[str, Any] = {}
    for name in ("rss", "uss", "sessions_uss", "redis_used"):
        found[name] = _memory(name, first, last, samples, tasks)
    for name in _COUNTS:
        # What comes and goes is no leak: only what the last quarter never falls below is.
        before = max(int(_held(name)(one)) for one in samples if one.done / tasks <= _FIRST[1])
        after = min(map(int, map(_held(name), last)))
        found[name] = {"most_at_first": before, "least_at_last": after, "leaked": max(0, after - before)}
    at_first, at_last = keys[len(keys) // 4], keys[-1]
    grown = {form: count - at_first.get(form, 0) for form, count in at_last.items()}
    found["redis_keys"] = {"leaked": {form: more for form, more in grown.items() if more > 0}}
    ages = [one.beat_age for one in samples if one.beat_age is not None]
    found["longest_without_a_sign_of_life_seconds"] = round(max(ages), 1) if ages else None
    found["kept"] = {
        "resident_memory": found["rss"]["ratio"] <= MOST_RATIO,
        "redis_memory": found["redis_used"]["ratio"] <= MOST_RATIO
        or found["redis_used"]["grown"] <= NOISE_MEGABYTES,
        "nothing_leaked": not any(found[name]["leaked"] for name in (*_COUNTS, "redis_keys")),
        "event_loop": bool(ages) and max(ages) < STALE_SECONDS,
    }
    return found


def _memory(
    name: str, first: Sequence[Sample], last: Sequence[Sample], samples: Sequence[Sample], tasks: int
) -> dict[str, float]:
    before, after = (_median(part, _held(name)) for part in (first, last))
    tail = [(one.done / 1000, _held(name)(one) * 1024) for one in samples if one.done / tasks >= _FIRST[1]]
    return {
        "at_first_megabytes": round(before, 2),
        "at_last_megabytes": round(after, 2),
        "ratio": round(after / before, 4),
        "grown": round(after - before, 2),
        "slope_kilobytes_per_1000_tasks": round(slope(tail), 2),
    }


def _held(name: str) -> Callable[[Sample], float]:
    return lambda one: float(getattr(one.held, name))


def _median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    return median(map(of, samples))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line; 0 of fewer than two points."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = (sum(one) / len(points) for one in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
