"""How long a simulated provider takes before it acts on a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

# The 99th percentile of the standard normal distribution.
_Z99 = 2.3263478740408408


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of delays in milliseconds: fixed where p50 equals p99, log-normal otherwise."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0

    def draw(self, rng: Random) -> float:
        """Return one delay in seconds."""
        if self.p50_ms <= 0:
            return 0.0
        if self.p99_ms <= self.p50_ms:
            return self.p50_ms / 1000
        sigma = math.log(self.p99_ms / self.p50_ms) / _Z99
        return rng.lognormvariate(math.log(self.p50_ms), sigma) / 1000

    @classmethod
    def parse(cls, value: object) -> Latency:
        """Read ``150`` (fixed ms) or ``{"p50": 80, "p99": 900}`` (ms, log-normal).

        Raises:
            ValueError: it is neither.
        """
        if _is_number(value):
            return cls(float(value), float(value))  # type: ignore[arg-type]  # _is_number has looked
        if isinstance(value, dict) and set(value) == {"p50", "p99"} and all(map(_is_number, value.values())):
            p50, p99 = float(value["p50"]), float(value["p99"])
            if 0 < p50 <= p99:
                return cls(p50, p99)
        raise ValueError('give milliseconds, or {"p50": ms, "p99": ms} with 0 < p50 <= p99')

    def as_json(self) -> object:
        """Return what `parse` would read back."""
        return self.p50_ms if self.p50_ms == self.p99_ms else {"p50": self.p50_ms, "p99": self.p99_ms}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
