"""Were spent tokens presented, and did that or anything else cost a grant. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict

from benchmarks.chaos.definitions import KIND_OF
from benchmarks.chaos.evidence import Holding, Line
from benchmarks.chaos.figure import Figure, Item, ago
from benchmarks.chaos.matching import Case, Matched

_STAGED = frozenset({"answer_staged"})


def _spending(case: Case, reuse: Matched) -> Matched | None:
    """Return the presentation that spent the token which this one presents again."""
    for item in case.of_grant[reuse.seen.grant_id]:
        if item.seen.generation == reuse.seen.generation and item.seen.result == "refreshed":
            return item
    return None


def _lay_staged(case: Case, spending: Matched | None, at: float) -> bool:
    """Say whether the answer of that presentation was staged at this time, and had not landed."""
    if spending is None or spending.send is None:
        return False
    attempt = spending.send.attempt_id
    staged = any(word.event in _STAGED and word.at < at for word in case.said.get(attempt, ()))
    line = case.committed(attempt)
    return staged and (line is None or line.at > at)


def _doubt(line: Line, began: float) -> Item:
    return {"at": ago(line.at, began), "code": line.code, "attempt": line.attempt_id}


def reuse(case: Case) -> Figure:
    """A spent token is presented outside a documented window at most once per doubt."""
    began = case.evidence.began
    broken, excused = [], []
    again: dict[tuple[str, int], int] = defaultdict(int)
    for item in case.matched:
        if item.seen.result != "reuse":
            continue
        key = item.seen.grant_id, item.seen.generation
        again[key] += 1
        spending = _spending(case, item)
        since = 0.0 if spending is None else spending.seen.started_at
        doubts = case.doubts(item.connection_id, since, item.seen.started_at)
        entry: Item = {
            "grant": item.seen.grant_id,
            "kind": KIND_OF[item.provider],
            "spent": None if spending is None else ago(spending.seen.started_at, began),
            "presented_again": ago(item.seen.started_at, began),
            "time": again[key],
            "doubts": [_doubt(line, began) for line in doubts],
        }
        if _lay_staged(case, spending, item.seen.started_at):
            broken.append({**entry, "because": "its answer lay staged"})
        elif len(doubts) < again[key]:
            broken.append({**entry, "because": "no doubt of its own"})
        else:
            excused.append({**entry, "because": "the one attempt of its doubt"})
    return Figure(
        "spent_tokens_presented", "Spent tokens presented outside a window, beyond one for each doubt",
        broken, excused,
    )  # fmt: skip


def grants_lost(case: Case) -> Figure:
    """No grant is lost, but for those that single use, or an outage longer than the window, must cost."""
    broken, excused = [], []
    lost: Counter[str] = Counter()
    lives = {life.grant_id: life for life in case.evidence.lives}
    for held in case.evidence.holdings:
        life = lives.get(held.grant_id)
        if life is None:
            continue
        entry = _lost(case, held, life.dead_reason)
        if entry is None:
            continue
        lost[KIND_OF[held.provider]] += 1
        if entry.pop("excused"):
            excused.append(entry)
        else:
            broken.append(entry)
    counts = {"lost_by_kind": {kind: lost.get(kind, 0) for kind in KIND_OF.values()}}
    promise = "Grants lost without need"
    return Figure("grants_lost", promise, broken, excused, counts)


def _lost(case: Case, held: Holding, dead_reason: str | None) -> Item | None:
    """Say whether and why a grant was lost; None: it was not, or somebody ended it on purpose."""
    entry: Item = {"grant": held.grant_id, "kind": KIND_OF[held.provider], "excused": False}
    if dead_reason is None:
        given_up = _given_up(case, held)
        if given_up is None:
            return None
        at = ago(given_up.at, case.evidence.began)
        return {**entry, "because": "declared dead while it lives at the provider", "at": at}
    if dead_reason in ("revoked", "revoked_by_client"):
        return None
    reuses = [item for item in case.of_grant[held.grant_id] if item.seen.result == "reuse"]
    if dead_reason != "reuse" or not reuses:
        return {**entry, "because": f"dead at the provider: {dead_reason}"}
    first = reuses[0]
    spending = _spending(case, first)
    if spending is None:
        return {**entry, "because": "a token was presented that nobody had spent"}
    began = case.evidence.began
    since, until = spending.seen.started_at, first.seen.started_at
    doubts = case.doubts(held.connection_id, since, until)
    entry |= {
        "spent": ago(since, began),
        "presented_again": ago(until, began),
        "doubts": [_doubt(line, began) for line in doubts],
        "fault_of_the_provider": spending.seen.fault,
        "answered": spending.seen.answered,
    }
    if not doubts or held.provider == "gsc":
        return {**entry, "because": "no doubt explains it"}
    if held.provider == "strict":
        return {**entry, "because": "single use: the one attempt of a doubt was refused", "excused": True}
    return {**entry, **_arithmetic(case, since, until)}


def _arithmetic(case: Case, since: float, until: float) -> Item:
    """Compare our outage with what the window leaves for one."""
    facts = case.facts
    usable = facts.replay_window - facts.needed
    away = {name: round(case.away(name, since, until), 1) for name in ("postgres", "redis", "beat")}
    outage = case.outage(since, until)
    return {
        "seconds_between": round(until - since, 1),
        "window": facts.replay_window,
        "needed_without_outage": facts.needed,
        "usable_for_an_outage": usable,
        "outages": away,
        "outage": round(outage, 1),
        "because": "the outage was longer than what the window leaves"
        if outage >= usable
        else "the outage was shorter than what the window leaves",
        "excused": outage >= usable,
    }


def _given_up(case: Case, held: Holding) -> Line | None:
    """Return the verdict by which a living grant was declared dead, unless it was taken back."""
    verdict = None
    for line in case.lines.get(held.connection_id, ()):
        if line.at < held.since or (held.until is not None and line.at > held.until):
            continue
        if line.kind == "needs_reauth":
            verdict = line
        elif line.kind in ("refreshed", "spare_promoted"):
            verdict = None
    return verdict
