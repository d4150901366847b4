"""A figure: how often a promise was broken, each time listed, and what is excused, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Item = dict[str, Any]  # JSON: the lists of the result


@dataclass(frozen=True)
class Figure:
    """One promise after a campaign.

    Attributes:
        promise: What should be nought, in words for the table.
        broken: What breaks it, one by one.
        excused: What looks like it and is not, one by one, each with `because`.
        counts: Further numbers that belong to it.
    """

    name: str
    promise: str
    broken: list[Item] = field(default_factory=list)
    excused: list[Item] = field(default_factory=list)
    counts: Mapping[str, object] = field(default_factory=dict)

    @property
    def value(self) -> int:
        """How often it was broken."""
        return len(self.broken)

    def as_json(self) -> dict[str, object]:
        """Return it for the result file."""
        return {
            "promise": self.promise,
            "value": self.value,
            "excused": len(self.excused),
            **self.counts,
            "broken_ones": self.broken,
            "excused_ones": self.excused,
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], *, scale: float = 1e6) -> dict[str, float | int | None]:
    """Return how many there are and their p50, p99, p99.9 and greatest, by default in microseconds."""
    figures: dict[str, float | int | None] = {"count": len(values)}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)):
        value = percentile(values, share)
        figures[name] = None if value is None else round(value * scale, 1)
    return figures


def ago(instant: float | None, began: float) -> float | None:
    """Return an instant as seconds after the first fault, for people."""
    return None if instant is None else round(instant - began, 3)
