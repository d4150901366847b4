"""Puts the provider's presentations and our workers' words together. Pure."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from benchmarks.chaos.evidence import Evidence, Holding, Line, Presentation, Said, Send
from benchmarks.chaos.record import Kill, Span

#: Two processes' readings of one machine's clock, and a log line written a moment before it is stamped.
SLACK: Final = 0.01


@dataclass(frozen=True)
class Matched:
    """A presentation with the send that caused it; `send` None: nobody said that he would."""

    seen: Presentation
    send: Send | None
    connection_id: str
    provider: str


class Case:
    """The evidence, indexed."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.facts = evidence.facts
        self.holding: dict[str, Holding] = {item.grant_id: item for item in evidence.holdings}
        self.matched = _match(evidence, self.holding)
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self.by_attempt: dict[str, list[Line]] = defaultdict(list)
        for line in evidence.activity:
            self.lines[line.connection_id].append(line)
            if line.attempt_id is not None:
                self.by_attempt[line.attempt_id].append(line)
        self.said: dict[str, list[Said]] = defaultdict(list)
        for word in evidence.said:
            if word.attempt_id is not None:
                self.said[word.attempt_id].append(word)
        self._sends: dict[str, list[Send]] = defaultdict(list)
        for send in evidence.sends:
            self._sends[send.connection_id].append(send)
        self.of_grant: dict[str, list[Matched]] = defaultdict(list)
        for item in self.matched:
            self.of_grant[item.seen.grant_id].append(item)

    def ours(self) -> list[Matched]:
        """Return the presentations of grants in our hands, in the order in which they arrived."""
        return self.matched

    def kill_after(self, worker: str, at: float) -> Kill | None:
        """Return the first kill of that worker from `at` on."""
        later = [kill for kill in self.evidence.kills if kill.target == worker and kill.at >= at - SLACK]
        return min(later, key=lambda kill: kill.at, default=None)

    def stop_during(self, worker: str, since: float, until: float) -> Span | None:
        """Return a stop of that worker that falls into this time."""
        for stop in self.evidence.stops:
            if stop.target == worker and stop.since <= until + SLACK and stop.until >= since - SLACK:
                return stop
        return None

    def away(self, server: str, since: float, until: float) -> float:
        """Return for how many seconds of that time the server was away."""
        return sum(span.overlap(since, until) for span in self.evidence.outages if span.target == server)

    def calm(self, server: str, since: float, until: float) -> list[float]:
        """Return the lengths in seconds of the stretches of that time in which the server was there."""
        lengths, reached = [], since
        for span in sorted(self.evidence.outages, key=lambda one: one.since):
            if span.target == server and span.overlap(since, until) > 0:
                lengths.append(max(0.0, span.since - reached))
                reached = max(reached, span.until)
        return [*lengths, max(0.0, until - reached)]

    def outage(self, since: float, until: float) -> float:
        """Return for how many seconds of that time at least one server, or every beat, was away."""
        total, reached = 0.0, since
        for span in sorted(self.evidence.outages, key=lambda one: one.since):
            if span.target in _SERVERS and span.until > reached:
                total += span.overlap(max(reached, since), until)
                reached = max(reached, span.until)
        return total

    def away_together(self, servers: Sequence[str], since: float, until: float) -> float:
        """Return for how many seconds of that time all of them were away at once."""
        edges = sorted(
            {since, until, *(at for span in self.evidence.outages for at in (span.since, span.until))}
        )
        return sum(
            later - earlier
            for earlier, later in pairwise(edges)
            if earlier >= since
            and later <= until
            and all(self.away(server, earlier, later) >= later - earlier - 1e-6 for server in servers)
        )

    def committed(self, attempt_id: str) -> Line | None:
        """Return the line that says that the attempt's answer is kept; None: it is not in Postgres."""
        for line in self.by_attempt.get(attempt_id, ()):
            if line.kind in KEPT:
                return line
        return None

    def doubts(self, connection_id: str, since: float, until: float) -> list[Line]:
        """Return a connection's doubts of that time: those written down, and those of recoveries that died.

        A recovery whose worker was killed leaves the row as it was, in doubt: a new doubt without a line.
        """
        found = [
            line
            for line in self.lines.get(connection_id, ())
            if line.kind == "in_doubt" and since <= line.at <= until
        ]
        known = {line.attempt_id for line in found}
        for send in self._sends.get(connection_id, ()):
            if not since - 1 <= send.at < until or send.attempt_id in known or self._is_resolved(send):
                continue
            kill = self.kill_after(send.worker, send.at)
            if kill is not None and kill.at <= until:
                found.append(Line(kill.at, connection_id, "in_doubt", send.attempt_id, None, UNWRITTEN))
        return sorted(found, key=lambda line: line.at)

    def _is_resolved(self, send: Send) -> bool:
        return any(line.kind in _RESOLVED for line in self.by_attempt.get(send.attempt_id, ()))


_SERVERS: Final = frozenset({"postgres", "redis", "beat"})
#: What the judge calls a doubt that nobody wrote down.
UNWRITTEN: Final = "killed_before_it_was_written"
#: Kinds of activity that say what an attempt came to.
_RESOLVED: Final = frozenset(
    {"refreshed", "answer_superseded", "refresh_failed", "needs_reauth", "in_doubt", "set_aside"}
)
#: Kinds of activity that say that an answer is kept: as the row's next version, or as a spare.
KEPT: Final = frozenset({"refreshed", "answer_superseded", "answer_after_disconnect"})


def _match(evidence: Evidence, holding: dict[str, Holding]) -> list[Matched]:
    """Give each presentation the latest unused send of its connection that came before it.

    Under one lease at a time there is at most one candidate; where two processes present at once, one of
    them was late, and the later send belongs to the earlier arrival only if nothing else fits.
    """
    times: dict[str, list[float]] = defaultdict(list)
    free: dict[str, list[Send]] = defaultdict(list)
    for send in sorted(evidence.sends, key=lambda one: one.at):
        times[send.connection_id].append(send.at)
        free[send.connection_id].append(send)
    matched = []
    for seen in sorted(evidence.presentations, key=lambda one: one.started_at):
        held = holding.get(seen.grant_id)
        if held is None:
            continue
        found = None
        index = bisect.bisect_right(times[held.connection_id], seen.started_at + SLACK)
        if index:
            found = free[held.connection_id].pop(index - 1)
            times[held.connection_id].pop(index - 1)
        matched.append(Matched(seen, found, held.connection_id, held.provider))
    return matched
