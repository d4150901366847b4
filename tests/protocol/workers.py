"""A worker whose protocol is a row of moves, each of which may be the last one for a while, or for ever.

What `services/refresh` does between two statements, a worker does between two moves, with the same policy.
It is not run for as long as nobody moves it: that is a process that was stopped, wherever it was.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.asks import HeldByAnother, Lapsed, Recover, RefreshAsk, Settled, standing
from domain.errors import NotSent, OutcomeUnknown, ProviderError
from domain.policy import InDoubt, NeedsReauth, RetryAt, Verdict, after_failure, recovery_at, sent_by
from domain.schedule import after_answer
from domain.token import Answer, Credentials, Status, TokenState
from storage.activity import Note
from storage.tokens.claims import ClaimCondition
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Landing
from tests.protocol.mutants import Mutant
from tests.protocol.provider import Call, facts_of
from tests.protocol.rows import Held

if TYPE_CHECKING:
    from tests.protocol.world import ProtocolWorld

#: A draw in the middle: the search is for interleavings, not for jitter.
JITTER: Final = 0.5
MOST_LOOKS: Final = 5


class Point(StrEnum):
    """What a worker does with its next move."""

    CLAIM = "claim"
    READ = "read why it was not claimed"
    MARK = "call a lapsed lease a doubt"
    POSTPONE = "put a recovery off"
    RECOVER = "claim a recovery"
    CHECK = "look whether a deadline fits into the lease"
    RELEASE = "give the claim back"
    SEND = "send"
    WAIT = "wait for the answer"
    LAND = "land the answer in hand"
    PROMOTE = "look for a spare"
    RECORD = "write the failure down"


Moves = Generator[Point, bool, None]


@dataclass(eq=False)
class Worker:
    """One process.

    Attributes:
        skew: How far its wall clock is off. Nothing may depend on it.
        boot: When its monotonic clock began, in seconds before the world did.
        point: What it does with its next move; None: idle.
    """

    world: ProtocolWorld
    name: str
    skew: timedelta
    boot: float
    point: Point | None = None
    in_hand: Answer | None = None
    _moves: Moves | None = field(default=None, repr=False)

    @property
    def idle(self) -> bool:
        return self.point is None

    def begin(self, ask: RefreshAsk) -> None:
        self._moves = self._claim(ask)
        self._go_on(None)

    def move(self, *, mishap: bool = False) -> None:
        """Make the next move. What a mishap is depends on the move: see where it is received."""
        self._go_on(mishap)

    def _go_on(self, mishap: bool | None) -> None:
        if self._moves is None:
            raise AssertionError("an idle worker has no move")
        try:
            self.point = next(self._moves) if mishap is None else self._moves.send(mishap)
        except StopIteration:
            self.point, self._moves, self.in_hand = None, None, None

    def kill(self) -> bool:
        """End it wherever it is; True if an answer died with it."""
        died = self.in_hand is not None
        if self._moves is not None:
            self._moves.close()
        self.point, self._moves, self.in_hand = None, None, None
        return died

    def monotonic(self) -> float:
        return self.boot + self.world.clock.elapsed

    def wall(self) -> datetime:
        return self.world.clock.now + self.skew

    # The protocol. Every `yield` is a place where the process may be stopped or killed.

    def _claim(self, ask: RefreshAsk) -> Moves:
        world, facts = self.world, facts_of(self.world.provider.kind)
        for _ in range(MOST_LOOKS):
            attempt_id = world.new_id()
            yield Point.CLAIM
            began = self.monotonic()
            held = world.claim(attempt_id, _condition(ask))
            if held is not None:
                yield from self._present(held, attempt_id, began, recovery=False)
                return
            yield Point.READ
            token, now = world.store.read()
            match standing(token, ask, now=now):
                case Settled() | HeldByAnother():
                    return
                case Lapsed() if token.attempt_id is not None and token.presented_at is not None:
                    at = recovery_at(token, facts, presented_at=self._sent_by(token, now), now=now)
                    if Mutant.NO_SETTLING in world.store.mutants:
                        at = now
                    yield Point.MARK
                    world.mark_lapsed(token.attempt_id, at)
                case Recover():
                    at = recovery_at(token, facts, presented_at=self._sent_by(token, now), now=now)
                    if Mutant.NO_SETTLING in world.store.mutants:
                        at = now
                    if at > now and token.attempt_id is not None:
                        yield Point.POSTPONE
                        if world.record_failure(_doubt(token.attempt_id, token.version, token.failures, at)):
                            continue
                    yield Point.RECOVER
                    began = self.monotonic()
                    held = world.claim_recovery(token.attempt_id, attempt_id)
                    if held is not None:
                        yield from self._present(held, attempt_id, began, recovery=True)
                        return
                case _:
                    pass

    def _sent_by(self, token: TokenState, now: datetime) -> datetime:
        if Mutant.SETTLED_FROM_CLAIM in self.world.store.mutants:
            return token.presented_at or now
        return sent_by(token, facts_of(self.world.provider.kind), now=now)

    def _present(self, held: Held, attempt_id: UUID, began: float, *, recovery: bool) -> Moves:
        world, known, timing = self.world, self.monotonic(), self.world.provider.timing
        yield Point.CHECK
        if not self._fits(held, began + timing.lease.total_seconds()):
            yield Point.RELEASE
            world.release(attempt_id)
            return
        checked_at = self.monotonic()
        # A mishap here: the connection could not be opened, and nothing was sent.
        if (yield Point.SEND):
            yield from self._failed(held, attempt_id, NotSent("connect_failed"), known, checked_at)
            return
        sent_at = self.monotonic()
        call = world.send(held, attempt_id, recovery=recovery, stopped=sent_at > checked_at)
        outcome: Answer | ProviderError | None = None
        while outcome is None:
            # A mishap here: stopped for so long that the client takes the deadline for more than the answer.
            late = yield Point.WAIT
            over = self.monotonic() >= sent_at + timing.deadline.total_seconds()
            outcome = OutcomeUnknown("timed_out") if over and (late or call.reply is None) else call.reply
        if isinstance(outcome, ProviderError):
            yield from self._failed(held, attempt_id, outcome, known, sent_at, call)
            return
        self.in_hand = outcome
        landing = self._landing(held, attempt_id, outcome, self._since(held, known, sent_at))
        # A mishap here: committed, and the confirmation lost. The answer is landed again.
        while (yield Point.LAND):
            world.land(landing, call)
        world.land(landing, call)

    def _fits(self, held: Held, lease_ends: float) -> bool:
        """Say whether a full deadline still fits into the lease."""
        mutants, deadline = self.world.store.mutants, self.world.provider.timing.deadline
        if Mutant.NO_LEASE_CHECK in mutants:
            return True
        if Mutant.WALL_CLOCK in mutants and held.state.lease_until is not None:
            return self.wall() + deadline <= held.state.lease_until
        return self.monotonic() + deadline.total_seconds() <= lease_ends

    def _since(self, held: Held, known: float, instant: float) -> datetime:
        return held.now + timedelta(seconds=instant - known)

    def _landing(self, held: Held, attempt_id: UUID, answer: Answer, sent_at: datetime) -> Landing:
        facts = facts_of(self.world.provider.kind)
        return Landing(
            connection_id=held.state.connection_id,
            grant_id=held.state.grant_id,
            presented_version=held.state.version,
            attempt_id=attempt_id,
            credentials=Credentials(answer.access_token, answer.refresh_token),
            keep_refresh=answer.refresh_token is None,
            schedule=after_answer(facts, began_at=sent_at, expires_in=answer.expires_in, jitter=JITTER),
        )

    def _failed(
        self,
        held: Held,
        attempt_id: UUID,
        error: ProviderError,
        known: float,
        sent_at: float,
        call: Call | None = None,
    ) -> Moves:
        world, facts = self.world, facts_of(self.world.provider.kind)
        now = self._since(held, known, self.monotonic())
        sent = self._since(held, known, sent_at)
        verdict = after_failure(held.state, facts, error, now=now, jitter=JITTER, sent_at=sent)
        if isinstance(verdict.token, NeedsReauth):
            yield Point.PROMOTE
            if world.promote_spare(held, attempt_id, call):
                return
        yield Point.RECORD
        world.record_failure(_record(held, attempt_id, error.code, verdict), call)


def _condition(ask: RefreshAsk) -> ClaimCondition:
    if ask.scheduled:
        return ClaimCondition.scheduled()
    if ask.if_version is not None:
        return ClaimCondition.if_version(ask.if_version)
    return ClaimCondition.force() if ask.force else ClaimCondition.on_demand(ask.min_validity)


def _doubt(attempt_id: UUID, version: int, failures: int, at: datetime) -> FailureRecord:
    return FailureRecord(
        connection_id=UUID(int=0),
        attempt_id=attempt_id,
        version=version,
        status=Status.IN_DOUBT,
        failures=failures,
        code="recovery_postponed",
        refresh_due_at=at,
        note=Note("recovery_postponed"),
    )


def _record(held: Held, attempt_id: UUID, code: str, verdict: Verdict) -> FailureRecord:
    """What `services.refresh.recording` makes of a verdict."""
    status, due, not_before, reason = Status.ACTIVE, None, None, None
    match verdict.token:
        case NeedsReauth(why):
            status, reason = Status.NEEDS_REAUTH, why
        case InDoubt(recover_at):
            status, due = Status.IN_DOUBT, recover_at
        case RetryAt(at):
            due = not_before = at
    return FailureRecord(
        connection_id=held.state.connection_id,
        attempt_id=attempt_id,
        version=held.state.version,
        status=status,
        failures=held.state.failures + 1,
        code=code,
        refresh_due_at=due,
        note=Note("refresh_failed"),
        not_before=not_before,
        reauth_reason=reason,
    )
