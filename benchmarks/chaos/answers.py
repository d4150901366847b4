"""Was an answer that arrived lost. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from benchmarks.chaos.definitions import KIND_OF
from benchmarks.chaos.figure import Figure, Item, ago, percentile, spread
from benchmarks.chaos.matching import Case, Matched

#: What was done on the wire to answers that were written out whole and still say nothing.
_UNREADABLE: Final = frozenset({"invalid_json", "not_http", "error_in_200"})
_SERVED: Final = frozenset({"refreshed", "replayed"})
#: Where an answer can be safe, or safer than in memory alone.
_PLACES: Final = ("postgres", "spool", "redis")
#: A worker's word that memory alone has an answer, and perhaps Redis.
_HELD: Final = "answer_held_in_memory"
#: Once Postgres is back for so many seconds, somebody has swept and landed what lies in Redis.
_SWEPT: Final = 5.0
#: The least time within which a kill after the answer's end counts as "before the first durable write".
_LEAST_WINDOW: Final = 0.05


def arrived(case: Case) -> list[Matched]:
    """Return the presentations whose answer carried tokens and was written out whole."""
    return [
        item
        for item in case.matched
        if item.seen.answered and item.seen.result in _SERVED and item.seen.fault not in _UNREADABLE
    ]


def commit_times(case: Case) -> list[float]:
    """Return the seconds from an answer's end to its commit, where nothing was away or stopped meanwhile."""
    times = []
    for item in arrived(case):
        line = None if item.send is None else case.committed(item.send.attempt_id)
        if item.send is None or line is None:
            continue
        since, until = item.seen.ended_at, line.at
        calm = case.away("postgres", since, until) == 0 and not case.stop_during(
            item.send.worker, since, until
        )
        if calm and not any(word.event == _HELD for word in case.said.get(item.send.attempt_id, ())):
            times.append(max(0.0, until - since))
    return times


def answers_lost(case: Case) -> Figure:
    """An answer that arrived is committed, kept as a spare, or staged; a kill in between is counted."""
    times = commit_times(case)
    window = max(_LEAST_WINDOW, percentile(times, 0.999) or 0.0)
    broken, excused = [], []
    whole = arrived(case)
    for item in whole:
        if item.send is not None and case.committed(item.send.attempt_id) is not None:
            continue
        entry = _lost(case, item, window)
        if entry.pop("excused"):
            excused.append(entry)
        else:
            broken.append(entry)
    because = Counter(str(entry["because"]) for entry in (*broken, *excused))
    return Figure(
        "answers_lost",
        "Answers that arrived and were lost",
        broken,
        excused,
        {
            "arrived": len(whole),
            "by_reason": dict(sorted(because.items())),
            "answer_to_commit_microseconds": spread(times),
            "attributed_to_a_kill_within_seconds": round(window, 3),
        },
    )


def _lost(case: Case, item: Matched, window: float) -> Item:
    seen, send, began = item.seen, item.send, case.evidence.began
    entry: Item = {
        "grant": seen.grant_id,
        "kind": KIND_OF[item.provider],
        "answered": ago(seen.ended_at, began),
        "fault": seen.fault,
        "excused": False,
    }
    if send is None:
        return {**entry, "because": "nobody said that he would present"}
    entry |= {"worker": send.worker, "attempt": send.attempt_id}
    words = {word.event: word for word in case.said.get(send.attempt_id, ())}
    if "answer_for_a_gone_grant" in words:
        replaced = case.holding[seen.grant_id].until is not None
        return {**entry, "because": "the grant had been replaced or disconnected", "excused": replaced}
    if "refresh_failed" in words:
        return {**entry, **_unheard(case, item, words["refresh_failed"].code)}
    kill = case.kill_after(send.worker, send.at)
    if kill is None:
        return {**entry, "because": "unexplained"}
    entry |= {"killed": ago(kill.at, began), "by": kill.why}
    if kill.at <= seen.ended_at:
        return {**entry, "because": "the worker was killed before it had the answer", "excused": True}
    gap = kill.at - seen.ended_at - _stopped(case, send.worker, seen.ended_at, kill.at)
    entry["microseconds_between"] = round(gap * 1e6)
    if "answer_staged" in words:
        return {**entry, "because": "staged, and never landed"}
    if gap <= window:
        because = "the worker was killed between the socket and the first durable write"
        return {**entry, "because": because, "excused": True}
    if _HELD in words:
        return {**entry, **_held(case, send.worker, seen.ended_at, kill.at)}
    return {**entry, "because": "unexplained"}


def _unheard(case: Case, item: Matched, code: str | None) -> Item:
    """Judge a worker's word that it got no answer, although the provider wrote one out whole."""
    if item.send is None:
        raise AssertionError("unreachable: a word without a send")
    waited = item.seen.ended_at - item.send.at
    stopped = case.stop_during(item.send.worker, item.send.at, item.seen.ended_at + 1) is not None
    late = stopped or waited >= case.facts.deadline - 0.5
    because = "it ended after the call's deadline" if late else "the worker did not accept it"
    return {"because": because, "code": code, "seconds": round(waited, 2), "excused": late}


def _stopped(case: Case, worker: str, since: float, until: float) -> float:
    return sum(stop.overlap(since, until) for stop in case.evidence.stops if stop.target == worker)


def _held(case: Case, worker: str, since: float, until: float) -> Item:
    """Judge an answer that was in memory alone when its worker was killed: had it a place anywhere?"""
    # The disk that was full is machine B's.
    refused = worker.startswith("b-") and case.away_together(("postgres", "spool"), since, until) > 0
    because, excused = "held in memory alone until the worker was killed", False
    if refused and case.away_together(_PLACES, since, until) > 0:
        because, excused = "Postgres, spool and Redis all refused it", True
    elif refused and (emptied := _emptied_too_soon(case, since)):
        because = "Postgres and spool refused it, and Redis was emptied before Postgres was back"
        return {"because": because, "emptied": ago(emptied, case.evidence.began), "excused": True}
    away = {name: round(case.away(name, since, until), 2) for name in _PLACES}
    return {"because": because, "away": away, "excused": excused}


def _emptied_too_soon(case: Case, since: float) -> float | None:
    """Return when Redis was emptied before anybody could land its copy; None: it was not."""
    for deed in case.evidence.deeds:
        at = case.evidence.began + deed.began
        if deed.kind == "flush_redis" and deed.skipped is None and at > since:
            return at if max(case.calm("postgres", since, at)) < _SWEPT else None
    return None
