"""Was a refresh token presented while it must not be: concurrently, late, unannounced, or replaced. Pure."""

from __future__ import annotations

from typing import Final

from benchmarks.chaos.figure import Figure, Item, ago
from benchmarks.chaos.matching import SLACK, Case, Matched

#: A call of a grant that was replaced or disconnected may have been under way.
_UNDER_WAY: Final = 1.0


def _described(case: Case, item: Matched) -> Item:
    seen, send = item.seen, item.send
    began = case.evidence.began
    return {
        "grant": seen.grant_id,
        "arrived": ago(seen.started_at, began),
        "result": seen.result,
        "worker": None if send is None else send.worker,
        "announced": None if send is None else ago(send.at, began),
        "lease_until": None if send is None else ago(send.lease_until, began),
    }


def _stopped_before_sending(case: Case, item: Matched) -> Item | None:
    """Return the stop that fell between the worker's last look at its lease and the arrival, if one did."""
    if item.send is None:
        return None
    stop = case.stop_during(item.send.worker, item.send.at, item.seen.started_at)
    if stop is None:
        return None
    began = case.evidence.began
    return {"stopped": stop.target, "since": ago(stop.since, began), "until": ago(stop.until, began)}


def concurrent(case: Case) -> Figure:
    """No presentation arrives while another of the same grant is under way."""
    broken, excused = [], []
    for item in case.matched:
        if not item.seen.concurrent:
            continue
        others = [
            other
            for other in case.of_grant[item.seen.grant_id]
            if other is not item
            and other.seen.started_at <= item.seen.ended_at
            and other.seen.ended_at >= item.seen.started_at
        ]
        stops = (_stopped_before_sending(case, one) for one in (item, *others))
        stop = next((one for one in stops if one is not None), None)
        entry = {**_described(case, item), "beside": [_described(case, other) for other in others]}
        if stop is None:
            broken.append(entry)
        else:
            excused.append({**entry, "because": stop})
    return Figure("concurrent_presentations", "Presentations while another was under way", broken, excused)


def late(case: Case) -> Figure:
    """No presentation arrives after its presenter's lease has ended."""
    broken, excused = [], []
    for item in case.matched:
        if item.send is None or item.seen.started_at <= item.send.lease_until + SLACK:
            continue
        stop = _stopped_before_sending(case, item)
        if stop is None:
            broken.append(_described(case, item))
        else:
            excused.append({**_described(case, item), "because": stop})
    return Figure("late_presentations", "Presentations after the presenter's lease", broken, excused)


def unannounced(case: Case) -> Figure:
    """Every presentation was announced by the worker that made it, or the figures above know too little."""
    broken = [_described(case, item) for item in case.matched if item.send is None]
    return Figure("unannounced_presentations", "Presentations that no worker's log tells of", broken)


def of_replaced_grants(case: Case) -> Figure:
    """A grant that was replaced or disconnected is not presented any more."""
    broken = []
    for item in case.matched:
        held = case.holding[item.seen.grant_id]
        if held.until is not None and item.seen.started_at > held.until + _UNDER_WAY:
            broken.append({**_described(case, item), "ended": held.ended_how})
    return Figure(
        "presentations_of_replaced_grants", "Presentations of replaced or disconnected grants", broken
    )


def spent_imports(case: Case) -> Figure:
    """An import of a spent refresh token is refused."""
    deeds = [deed for deed in case.evidence.deeds if deed.kind == "import_spent" and deed.skipped is None]
    tried = [deed for deed in deeds if not deed.did.get("unknown")]
    broken: list[Item] = [dict(deed.did) for deed in tried if not deed.did.get("refused")]
    return Figure(
        "spent_tokens_imported", "Spent refresh tokens that an import took", broken, [], {"tried": len(tried)}
    )
