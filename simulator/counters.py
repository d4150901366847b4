"""What one dialect has seen, in numbers that add up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

_SUMMED = (
    "token_requests",
    "presentations",
    "concurrent_presentations",
    "answered",
    "lapses",
    "checks",
    "expired_token_uses",
    "revocations",
    "elsewhere",
)


@dataclass(slots=True)
class FaultCount:
    """How often a kind of fault struck, and whether the client got a whole answer."""

    applied: int = 0
    answered: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Counters:
    """Counts since the last reset. Requests are counted when they are over, not when they arrive.

    Attributes:
        token_requests: every finished request to the token endpoint; the sum of `results`.
        results: the same, by outcome: ``refreshed``, ``replayed``, ``reuse``, ``dead``, ``invalid_client`` …;
            ``fault:<kind>`` where a fault kept the provider from acting at all.
        presentations: those that carried a genuine refresh token (for client credentials: instance id) of a
            known grant, whatever came of it.
        concurrent_presentations: those that arrived while another of the same grant was under way.
        answered: token requests whose answer was written out whole.
        lapses: refreshes that came after the grant's newest access token had already expired.
        max_lapse_seconds: the longest such delay.
        checks: every finished request to the check endpoint; the sum of `check_results`.
        expired_token_uses: checks with a genuine access token past its end.
        revocations: finished requests to a revocation endpoint.
        elsewhere: requests that followed a simulated redirect.
    """

    token_requests: int = 0
    results: dict[str, int] = field(default_factory=dict)
    presentations: int = 0
    concurrent_presentations: int = 0
    answered: int = 0
    lapses: int = 0
    max_lapse_seconds: float = 0.0
    checks: int = 0
    check_results: dict[str, int] = field(default_factory=dict)
    expired_token_uses: int = 0
    revocations: int = 0
    elsewhere: int = 0
    faults: dict[str, FaultCount] = field(default_factory=dict)

    def add(self, other: Counters) -> None:
        """Add another dialect's counts, for a total."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.max_lapse_seconds = max(self.max_lapse_seconds, other.max_lapse_seconds)
        for result, count in other.results.items():
            self.results[result] = self.results.get(result, 0) + count
        for result, count in other.check_results.items():
            self.check_results[result] = self.check_results.get(result, 0) + count
        for kind, fault in other.faults.items():
            mine = self.faults.setdefault(kind, FaultCount())
            mine.applied += fault.applied
            mine.answered += fault.answered
            mine.dropped += fault.dropped

    def note_fault(self, kind: str, *, answered: bool) -> None:
        """Count one stroke of a fault."""
        fault = self.faults.setdefault(kind, FaultCount())
        fault.applied += 1
        if answered:
            fault.answered += 1
        else:
            fault.dropped += 1

    def as_json(self) -> dict[str, object]:
        """Return all counts; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, object]) -> Counters:
        """Return the counts that `as_json` wrote."""
        counters = cls(**row)  # type: ignore[arg-type]  # written by as_json
        counters.faults = {kind: FaultCount(**count) for kind, count in row["faults"].items()}  # type: ignore[attr-defined]  # written by as_json
        return counters
