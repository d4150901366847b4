"""What happened, from the provider's side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from simulator.counters import Counters
from simulator.dialects.base import Dialect
from simulator.grants import Grant, Verdict
from simulator.memory import DialectState
from simulator.world import World

_IDS_SHOWN = 10_000


def build(world: World, *, owner: str | None = None) -> dict[str, object]:
    """Return the whole report: ``total``, and under ``dialects`` each dialect that has grants or requests.

    It looks at every grant once, about ten milliseconds for 100,000. `owner` narrows what is said of grants
    (not of requests) to that owner's.
    """
    total, total_grants, dialects = Counters(), _GrantSummary(), {}
    for name, state in world.states.items():
        grants = _GrantSummary()
        grants.add(state, owner)
        total.add(state.counters)
        total_grants.merge(grants)
        if state.grants or state.counters.token_requests or state.counters.checks:
            dialects[name] = _section(state.counters, grants)
    return {
        "simulator": True,
        "at": time.time(),
        "total": _section(total, total_grants),
        "dialects": dialects,
    }


def incidents(world: World) -> list[dict[str, object]]:
    """Return the concurrent presentations, reuses and window replays, the latest 10,000 of each dialect."""
    return [incident._asdict() for state in world.states.values() for incident in state.incidents]


def presentations(world: World, *, owner: str | None = None) -> Iterator[dict[str, object]]:
    """Yield every remembered presentation with its grant, a grant's in the order in which they ended.

    `owner` narrows them to that owner's grants. How many a grant remembers, ``--history`` says.
    """
    for state in world.states.values():
        for grant in state.grants:
            if grant.history is not None and owner in (None, grant.owner):
                # A copy: requests go on between two of a stream's pieces.
                for item in tuple(grant.history):
                    yield {"grant_id": grant.grant_id, **item._asdict()}


def lives(world: World, *, owner: str | None = None) -> Iterator[dict[str, object]]:
    """Yield what is known of each grant, without history and tokens; `owner` narrows them to his."""
    for state in world.states.values():
        for grant in state.grants:
            if owner in (None, grant.owner):
                row = grant.as_row()
                del row["history"]
                yield {"grant_id": grant.grant_id, "alive": grant.alive, "under_way": grant.under_way, **row}


def describe(grant: Grant) -> dict[str, object]:
    """Return everything known of a grant except its tokens."""
    row = grant.as_row()
    row["history"] = [item._asdict() for item in grant.history or ()]
    return {"grant_id": grant.grant_id, "alive": grant.alive, "under_way": grant.under_way, **row}


def describe_dialect(dialect: Dialect) -> dict[str, object]:
    """Return a dialect's paths and settings, its client id and secret among them."""
    return {
        "token_path": dialect.token_path,
        "check_path": dialect.check_path,
        "revoke_path": dialect.revoke_path,
        "settings": dialect.state.settings.as_json(),
    }


class _GrantSummary:
    """Figures over many grants."""

    def __init__(self) -> None:
        self.minted = self.expired_now = self.under_way = self.most_presented = 0
        self.dead: Counter[str] = Counter()
        self.dead_ids: dict[str, list[str]] = {}

    def add(self, state: DialectState, owner: str | None) -> None:
        """Count the dialect's grants."""
        now = time.time()
        for grant in state.grants:
            if owner is not None and grant.owner != owner:
                continue
            self.minted += 1
            self.under_way += grant.under_way
            self.most_presented = max(self.most_presented, grant.presentations)
            if grant.dead_reason is not None:
                self.dead[grant.dead_reason] += 1
                self.dead_ids.setdefault(grant.dead_reason, []).append(grant.grant_id)
            elif grant.access_expires_at is not None and grant.access_expires_at <= now:
                self.expired_now += 1

    def merge(self, other: _GrantSummary) -> None:
        """Add another dialect's figures."""
        self.minted += other.minted
        self.expired_now += other.expired_now
        self.under_way += other.under_way
        self.most_presented = max(self.most_presented, other.most_presented)
        self.dead += other.dead
        for reason, ids in other.dead_ids.items():
            self.dead_ids.setdefault(reason, []).extend(ids)


def _section(counters: Counters, grants: _GrantSummary) -> dict[str, object]:
    served = {Verdict.REFRESHED.value, Verdict.REPLAYED.value, "exchanged"}
    counts = counters.as_json()
    return {
        **counts,
        "refreshed": counters.results.get(Verdict.REFRESHED, 0),
        "window_replays": counters.results.get(Verdict.REPLAYED, 0),
        "reuse": counters.results.get(Verdict.REUSE, 0),
        "rejected": {result: count for result, count in counters.results.items() if result not in served},
        "unanswered": counters.token_requests - counters.answered,
        "under_way": grants.under_way,
        "max_presentations_of_one_grant": grants.most_presented,
        "grants": {
            "minted": grants.minted,
            "alive": grants.minted - sum(grants.dead.values()),
            "dead": dict(grants.dead),
            "dead_ids": {reason: list(islice(ids, _IDS_SHOWN)) for reason, ids in grants.dead_ids.items()},
            "expired_now": grants.expired_now,
        },
    }
