"""Store, provider, workers and judge together, and the moves that can be made on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from domain.asks import RefreshAsk
from domain.schedule import after_import
from domain.token import Credentials, Status, TokenState
from storage.tokens.claims import ClaimCondition
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Landed, Landing
from tests.protocol.clock import BEGINNING, Clock
from tests.protocol.judge import Judge, Rare, Wrong
from tests.protocol.mutants import Mutant
from tests.protocol.provider import HOUR, Call, Fate, Kind, ModelProvider, facts_of
from tests.protocol.rows import Held, Row
from tests.protocol.store import ModelStore
from tests.protocol.workers import JITTER, Point, Worker

SCHEDULED: Final = RefreshAsk(scheduled=True)
SECOND: Final = timedelta(seconds=1)
#: Wall clocks five minutes slow, five minutes fast, and right; monotonic clocks that began at any time.
WORKERS: Final = (("a", -300, 1_000.0), ("b", 300, 77_777.7), ("c", 0, 0.0))
#: Scheduled refreshes and recoveries until whatever was begun must have come to its end.
MOST_ROUNDS: Final = 12


@dataclass
class ProtocolWorld:
    """One connection at one provider, and three processes."""

    kind: Kind
    mutants: frozenset[Mutant] = frozenset()
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self._ids = count(1)
        nothing = TokenState(UUID(int=0), str(self.kind), Status.DISCONNECTED, 0, self.new_id())
        self.store = ModelStore(self.clock, Row(nothing, None, None), self.mutants)
        self.provider = ModelProvider(self.kind, self.clock)
        self.judge = Judge(self.store, self.provider, self.clock)
        self.provider.on_spent = self.judge.spent
        self.workers = [Worker(self, name, timedelta(seconds=skew), boot) for name, skew, boot in WORKERS]
        self.reconnect()

    def new_id(self) -> UUID:
        return UUID(int=next(self._ids))

    # What workers do.

    def claim(self, attempt_id: UUID, when: ClaimCondition) -> Held | None:
        return self.store.claim(attempt_id=attempt_id, lease=self.provider.timing.lease, when=when)

    def claim_recovery(self, seen: UUID | None, attempt_id: UUID) -> Held | None:
        lease = self.provider.timing.lease
        return self.store.claim_recovery(seen=seen, attempt_id=attempt_id, lease=lease)

    def mark_lapsed(self, attempt_id: UUID, recover_at: datetime) -> None:
        before = self.store.row
        self.store.mark_lapsed(attempt_id=attempt_id, recover_at=recover_at)
        self.judge.changed(before)

    def release(self, attempt_id: UUID) -> None:
        before = self.store.row
        if self.store.release(attempt_id):
            self.judge.counts[Rare.RELEASED] += 1
        self.judge.changed(before)

    def send(self, held: Held, attempt_id: UUID, *, recovery: bool, stopped: bool) -> Call:
        if held.refresh is None:
            raise AssertionError("a row without refresh token was claimed")
        call = self.provider.receive(
            attempt_id=attempt_id, token=held.refresh, recovery=recovery, stopped=stopped
        )
        self.judge.sent(call, held)
        return call

    def land(self, landing: Landing, call: Call) -> None:
        before = self.store.row
        result = self.store.land(landing)
        call.resolved = True
        if isinstance(result, Landed) and call.recovery:
            self.judge.counts[Rare.RECOVERED] += 1
        self.judge.landed(before, landing, result)

    def promote_spare(self, held: Held, attempt_id: UUID, call: Call | None) -> bool:
        before, state = self.store.row, held.state
        promoted = self.store.promote_spare(
            grant_id=state.grant_id, version=state.version, attempt_id=attempt_id
        )
        if promoted:
            self.judge.counts[Rare.PROMOTED] += 1
            if call is not None:
                call.resolved = True
        self.judge.changed(before)
        return promoted

    def record_failure(self, record: FailureRecord, call: Call | None = None) -> bool:
        before = self.store.row
        written = self.store.record_failure(record)
        if call is not None and written and record.status is Status.NEEDS_REAUTH:
            call.resolved = True
        self.judge.failed(before, record, written=written)
        return written

    def kill(self, worker: Worker) -> None:
        if worker.kill():
            self.judge.counts[Rare.ANSWER_DIED] += 1

    # What users and time do.

    def reconnect(self) -> None:
        """The user connects anew: another grant, whose refresh is due."""
        grant = self.provider.mint()
        now = self.clock.now
        schedule = after_import(
            facts_of(self.kind), now=now, expires_at=now + HOUR / 5, refreshable=True, jitter=JITTER
        )
        tokens = Credentials(SecretStr(f"{grant.name}-access"), SecretStr(grant.token(1)))
        before = self.store.row
        self.store.import_grant(tokens, schedule, grant_id=self.new_id(), replace_credentials=True)
        self.judge.changed(before)

    def disconnect(self) -> None:
        self.store.disconnect()

    def revoke(self) -> None:
        """The user takes the row's grant back at the provider."""
        if self.store.row.refresh is not None:
            grant = self.provider.grant_of(self.store.row.refresh)
            grant.alive, grant.revoked = False, True

    def pass_time(self, duration: timedelta) -> None:
        """Let time pass; the provider comes to an end with every presentation in time."""
        until = self.clock.now + max(duration, timedelta(0))
        while ending := [call for call in self.provider.under_way() if call.ends_by <= until]:
            call = min(ending, key=lambda call: call.ends_by)
            self.clock.now = max(self.clock.now, call.ends_by)
            self.provider.end(call, Fate.ANSWERED)
        self.clock.now = until

    def pass_until(self, *moments: datetime | None) -> None:
        """Let it be a second after the latest of these moments."""
        known = [moment for moment in moments if moment is not None]
        if known:
            self.pass_time(max(known) + SECOND - self.clock.now)

    # To the end.

    def finish(self, worker: Worker) -> None:
        """Run one worker to its end, with a provider that answers whatever is under way."""
        while not worker.idle:
            if worker.point is Point.WAIT:
                for call in self.provider.under_way():
                    self.provider.end(call, Fate.ANSWERED)
            worker.move()

    def let_run(self) -> None:
        """Let everything come to its end, and judge what it has come to."""
        for worker in self.workers:
            self.finish(worker)
        for _ in range(MOST_ROUNDS):
            state = self.store.row.state
            if state.status in {Status.NEEDS_REAUTH, Status.DISCONNECTED}:
                break
            self.pass_until(state.refresh_due_at, state.not_before, state.lease_until)
            self.workers[0].begin(SCHEDULED)
            self.finish(self.workers[0])
            after = self.store.row.state
            if after.version > state.version and (after.refresh_due_at or BEGINNING) > self.clock.now:
                break
        else:
            self.judge.wrong(Wrong.STUCK, repr(self.store.row.state))
        self._judge_the_end()

    def _judge_the_end(self) -> None:
        state, refresh = self.store.row.state, self.store.row.refresh
        if state.status is not Status.NEEDS_REAUTH or refresh is None:
            return
        if self.provider.honours(refresh):
            self.judge.wrong(Wrong.KILLED, "at the end")
        if self.kind is Kind.FREE and not self.provider.grant_of(refresh).revoked:
            self.judge.wrong(Wrong.GRANT_LOST)
