"""All figures of a campaign, from its evidence. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from benchmarks.chaos import answers, pacing, sending, spent, standing
from benchmarks.chaos.definitions import KIND_OF
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.figure import Figure
from benchmarks.chaos.matching import Case

_JUDGES: Final = (
    sending.concurrent,
    sending.late,
    sending.unannounced,
    spent.reuse,
    answers.answers_lost,
    spent.grants_lost,
    standing.left_undone,
    standing.alerts,
    pacing.too_soon,
    sending.of_replaced_grants,
    sending.spent_imports,
)


def judged(evidence: Evidence) -> list[Figure]:
    """Return every figure; what each promises should be nought."""
    case = Case(evidence)
    return [judge(case) for judge in _JUDGES]


def totals(evidence: Evidence) -> dict[str, object]:
    """Return how much happened: presentations and refreshes of each kind of provider, kills of each sort."""
    kinds = evidence.provider_of()
    presentations: Counter[str] = Counter()
    refreshes: Counter[str] = Counter()
    results: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for seen in evidence.presentations:
        kind = KIND_OF.get(kinds.get(seen.grant_id, ""), "other")
        presentations[kind] += 1
        results[seen.result] += 1
        if seen.result in ("refreshed", "replayed"):
            refreshes[kind] += 1
        if seen.fault is not None:
            faults[seen.fault] += 1
    committed = Counter(line.kind for line in evidence.activity)
    kills = Counter(kill.sort for kill in evidence.kills)
    return {
        "presentations": sum(presentations.values()),
        "presentations_by_kind": dict(presentations),
        "refreshes": sum(refreshes.values()),
        "refreshes_by_kind": dict(refreshes),
        "results_at_the_provider": dict(results),
        "faults_on_the_wire": dict(faults),
        "kills": sum(kills.values()),
        "kills_by_sort": dict(kills),
        "stops": len(evidence.stops),
        "exit_status_after_sigterm": dict(
            Counter(
                str(deed.did["status"])
                for deed in evidence.deeds
                if deed.kind == "terminate_worker" and "status" in deed.did
            )
        ),
        "seconds_away": {
            name: round(sum(span.until - span.since for span in evidence.outages if span.target == name), 1)
            for name in sorted({span.target for span in evidence.outages})
        },
        "activity": dict(committed),
        "grants": len(evidence.lives),
        "reconnected": sum(held.how == "reconnected" for held in evidence.holdings),
        "revoked": sum(held.ended_how == "revoked" for held in evidence.holdings),
        "disconnected": sum(held.ended_how == "disconnected" for held in evidence.holdings),
    }
