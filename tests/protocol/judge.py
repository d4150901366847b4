"""What must never happen, said of single events as they happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.policy import PRESENTED_TWICE
from domain.token import ReauthReason, Status
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Gone, Landed, Landing, LandResult, Superseded
from tests.protocol.provider import Call, ModelProvider
from tests.protocol.rows import Held, Row, in_the_clear
from tests.protocol.store import ModelStore


class Wrong(StrEnum):
    """The kinds of violation."""

    CONCURRENT = "two presentations of one grant under way at once"
    STALE = "a refresh token presented although a newer one was committed"
    SPENT = "a spent refresh token presented outside its window, and more often than there were doubts"
    OVERWRITTEN = "a write of an answer took the place of something newer"
    LOST = "an answer that was received neither landed nor was kept"
    WRONG_GRANT = "an answer of one grant was stored with another, or after the disconnect"
    KILLED = "a grant was declared dead whose stored token its provider honours"
    BLAMED = "the user was blamed for a rotation that was lost"
    VERSION_FELL = "a version did not grow"
    STUCK = "a due token was neither refreshed nor given up"
    GRANT_LOST = "a grant was lost that its provider never takes back"


class Violation(AssertionError):
    """A promise is broken."""

    def __init__(self, kind: Wrong, detail: str = "") -> None:
        super().__init__(f"{kind.name}: {kind.value} {detail}".rstrip())
        self.kind = kind


class Rare(StrEnum):
    """What is allowed, and counted apart."""

    LATE_SEND = "sent after the process was stopped between its last look at its lease and the send"
    OVERTAKEN = "a recovery was sent while the answer that it was for landed"
    ANSWER_DIED = "a worker was killed with an answer in its memory"
    LATE_LANDING = "an answer landed although the lease was over"
    RAISED_THE_DEAD = "an answer landed in a row that had been declared dead"
    PUT_ASIDE = "an answer came when the version had moved on"
    GONE = "an answer came for a grant that is not there any more"
    PROMOTED = "a spare was promoted"
    RECOVERED = "a doubt was recovered"
    ROTATION_LOST = "a rotation was lost, and the alert says so"
    OVERTAKEN_FAILURE = "a failure was not written, because the row had moved on"
    FORGOTTEN = "another error came after a double presentation, before its token was used"
    RELEASED = "a claim was given back, because a full deadline did not fit into the lease any more"


@dataclass
class Judge:
    """Sees every send and every write."""

    store: ModelStore
    provider: ModelProvider
    clock: Callable[[], datetime]
    counts: Counter[Rare] = field(default_factory=Counter)
    #: Grants that came to harm by what is counted apart, or whose answers are known to compete.
    disturbed: set[str] = field(default_factory=set)
    #: Attempts whose answers the row has taken, seen as it took them.
    landings: set[UUID] = field(default_factory=set)
    broken: bool = False

    def wrong(self, kind: Wrong, detail: str = "") -> None:
        self.broken = True
        raise Violation(kind, detail)

    # The provider's side.

    def sent(self, call: Call, held: Held) -> None:
        """Judge a presentation at the moment of its send."""
        grant = self.provider.grant_of(call.token)
        others = [
            other
            for other in self.provider.under_way()
            if other is not call and self.provider.grant_of(other.token) is grant
        ]
        if call.stopped:
            self.counts[Rare.LATE_SEND] += 1
            self.disturbed.add(grant.name)
        elif any(not other.stopped for other in others):
            self.wrong(Wrong.CONCURRENT)
        row = self.store.row
        another = row.state.grant_id != held.state.grant_id or row.refresh is None
        if call.stopped or another:
            return
        if row.refresh == call.token:
            same = (other for other in self.provider.calls if other.token == call.token)
            call.needless = any(other.resolved for other in same)
            return
        if call.recovery and self._is_leased(held):
            # No statement comes between a claim and its send, so nothing can tell the worker any more.
            self.counts[Rare.OVERTAKEN] += 1
            return
        self.wrong(Wrong.STALE)

    def _is_leased(self, held: Held) -> bool:
        until = held.state.lease_until
        return until is not None and self.clock() + self.provider.timing.deadline <= until

    def spent(self, call: Call) -> None:
        """Judge a presentation of a spent token that no window covers."""
        if call.stopped:
            return
        if not call.recovery or call.needless:
            self.wrong(Wrong.SPENT)

    # The store's side.

    def changed(self, before: Row) -> None:
        """Judge any write."""
        after = self.store.row
        if after.state.version < before.state.version:
            self.wrong(Wrong.VERSION_FELL)
        if after.state.version == before.state.version and after.refresh not in {before.refresh, None}:
            self.wrong(Wrong.VERSION_FELL, "another token under the same version")
        twice = before.state.last_error_code == PRESENTED_TWICE and before.refresh is not None
        other = after.state.last_error_code != PRESENTED_TWICE and after.refresh == before.refresh
        if twice and other and after.state.status is not Status.NEEDS_REAUTH:
            # What the row remembers of it gives way to a newer error: there is no column for both.
            self.counts[Rare.FORGOTTEN] += 1
            self.disturbed.add(self.provider.grant_of(before.refresh or "").name)

    def landed(self, before: Row, landing: Landing, result: LandResult) -> None:
        """Judge what became of an answer."""
        self.changed(before)
        state, grant = before.state, landing.grant_id
        ended = state.status is Status.DISCONNECTED
        if grant != state.grant_id or ended:
            if not isinstance(result, Gone):
                self.wrong(Wrong.WRONG_GRANT)
            self.counts[Rare.GONE] += 1
            return
        if isinstance(result, Landed):
            if state.version != landing.presented_version:
                self.wrong(Wrong.OVERWRITTEN)
            if self.store.row.state.grant_id != grant or self.store.row.state.status is not Status.ACTIVE:
                self.wrong(Wrong.LOST, "landed, and not to be seen")
            if state.attempt_id != landing.attempt_id or state.lease_until is None:
                self.counts[Rare.LATE_LANDING] += 1
            if state.status is Status.NEEDS_REAUTH:
                self.counts[Rare.RAISED_THE_DEAD] += 1
            self.landings.add(landing.attempt_id)
            return
        if state.version == landing.presented_version:
            self.wrong(Wrong.LOST, "its version was still the row's")
        if not self._is_kept(landing):
            self.wrong(Wrong.LOST)
        if isinstance(result, Superseded):
            self.counts[Rare.PUT_ASIDE] += 1

    def _is_kept(self, landing: Landing) -> bool:
        refresh = in_the_clear(landing.credentials)[1]
        row = self.store.row
        known = {row.refresh, *row.spent} - {None}
        kept = {spare.attempt_id for spare in self.store.spares} | {row.state.committed_attempt_id}
        # Without a refresh token in it, an answer that is landed again, after the next one, shows nowhere.
        if refresh is None:
            kept |= self.landings
        return landing.attempt_id in kept or refresh in known

    def failed(self, before: Row, record: FailureRecord, *, written: bool) -> None:
        """Judge what was written of a failure."""
        self.changed(before)
        if not written:
            self.counts[Rare.OVERTAKEN_FAILURE] += 1
        elif record.status is Status.NEEDS_REAUTH:
            self._declared_dead(record)

    def _declared_dead(self, record: FailureRecord) -> None:
        refresh = self.store.row.refresh
        if refresh is None or self.provider.honours(refresh):
            self.wrong(Wrong.KILLED)
            return
        grant = self.provider.grant_of(refresh)
        if record.reauth_reason is ReauthReason.ROTATION_PROBABLY_LOST:
            self.counts[Rare.ROTATION_LOST] += 1
        elif not grant.revoked and grant.name not in self.disturbed:
            self.wrong(Wrong.BLAMED)
