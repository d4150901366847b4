"""The refresh protocol, step by step: admit, claim, present, judge, commit, record.

The lease decides who may present; the version decides whose answer lands. Two statements on the way that
goes well, and no transaction while the provider is being asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import structlog

from domain.asks import (
    Lapsed,
    Outcome,
    Recover,
    RefreshAsk,
    standing,
)
from domain.provider import Timing
from domain.restore import withheld
from domain.timing import timing_of
from domain.token import TokenState
from services.admission import Admission, Denied
from services.codes import RESTORE_GUARD
from services.crowding import Crowding
from services.providers import ProviderDesk, ReadyProvider
from services.refresh.answers import Wait, answer_of, condition_of
from services.refresh.callers import Callers
from services.refresh.denials import Denials
from services.refresh.flights import Flights
from services.refresh.presentation import Presentation
from services.refresh.recovery import Recovery
from services.refresh.result import RefreshResult, of_token
from services.refresh.together import Then, Together, Wish
from services.restore import RestoreGuard
from storage.tokens.claims import Claimed
from storage.tokens.store import TokenStore

log = structlog.get_logger(__name__)

#: A caller who waits for another process' answer looks again after a tenth of the time that he has waited, in
#: seconds no less and no more than this.
SOONEST: Final = 0.02
LATEST: Final = 0.1
#: A caller for whom there is no place looks again for this long, which an ordinary refresh takes less than.
PLACE_PATIENCE: Final = timedelta(seconds=1)
#: A caller for whom there is no place is told to come back after this.
BUSY: Final = timedelta(seconds=2)
#: A row that changes under every look is somebody else's; it is left to him.
MOST_LOOKS: Final = 5


class RefreshProtocol:
    """One per process; thread-safe."""

    def __init__(
        self,
        tokens: TokenStore,
        desk: ProviderDesk,
        admission: Admission,
        presentation: Presentation,
        recovery: Recovery,
        flights: Flights,
        *,
        owner: str,
        callers: Callers,
        crowding: Crowding,
        guard: RestoreGuard,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._desk = desk
        self._admission = admission
        self._presentation = presentation
        self._recovery = recovery
        self._flights = flights
        self._owner = owner
        self._callers = callers
        self._together = Together()
        self._denials = Denials(tokens, admission, crowding)
        self._guard = guard
        self._sleep = sleep
        self._clock = clock

    def refresh(
        self,
        connection_id: UUID,
        ask: RefreshAsk,
        *,
        provider_id: str | None = None,
        tenant: str | None = None,
        patience: timedelta = timedelta(0),
    ) -> RefreshResult:
        """Refresh one connection's token if the ask and the row call for it.

        Args:
            provider_id: The connection's provider where the caller knows it; saves a read. Where the row
                names another one, nothing is sent.
            tenant: The grant's tenant; only with `provider_id`.
            patience: How long to wait for an answer that another worker is about to bring, or for a slot.

        Raises:
            ServiceUnavailable: Postgres is away. No answer is lost by it: one that has arrived is held until
                it has landed.
        """
        if provider_id is not None:
            return self._wait(connection_id, ask, provider_id, tenant, patience)
        wish = Wish(connection_id, ask, patience)
        return self._together.have(wish, lambda: self._ask(wish))

    def refresh_or_hear(
        self, connection_id: UUID, ask: RefreshAsk, *, patience: timedelta, then: Then
    ) -> RefreshResult | None:
        """Refresh as `refresh` does, for a caller who can be told later.

        None where another caller of this process is having the same done: `then` is called in that caller's
        thread with what he hears, as `Together.have_or_hear` has it.
        """
        wish = Wish(connection_id, ask, patience)
        return self._together.have_or_hear(wish, lambda: self._ask(wish), then)

    def _ask(self, wish: Wish) -> RefreshResult:
        connection_id, ask, patience = wish.connection_id, wish.ask, wish.patience
        look_until = self._clock() + min(patience, PLACE_PATIENCE).total_seconds()
        while True:
            # A caller mostly asks for a token that is fresh, or becomes so in a moment by another caller's
            # refresh. He is answered before the gates, so that he takes no place, no slot, no rate, and above
            # all not the one probe that an open breaker lets through.
            row = self._tokens.read(connection_id)
            if row is None:
                return RefreshResult(Outcome.NOT_FOUND, connection_id, code="not_found")
            ref, token, now = row
            answer = answer_of(token, ask, now)
            if isinstance(answer, RefreshResult):
                return answer
            with self._callers.place(ref.provider_id) as free:
                if free:
                    return self._wait(connection_id, ask, ref.provider_id, token.tenant, patience)
            if self._clock() >= look_until:
                return of_token(token, Outcome.DEFERRED, now + BUSY, "busy")
            self._sleep(LATEST)

    def _wait(
        self,
        connection_id: UUID,
        ask: RefreshAsk,
        provider_id: str,
        tenant: str | None,
        patience: timedelta,
    ) -> RefreshResult:
        began = self._clock()
        give_up_at = began + patience.total_seconds()
        while True:
            step = self._step(connection_id, ask, provider_id, tenant)
            if isinstance(step, RefreshResult):
                return step
            if self._clock() >= give_up_at:
                return step.otherwise
            self._sleep(min(LATEST, max(SOONEST, (self._clock() - began) / 10)))

    def _step(
        self, connection_id: UUID, ask: RefreshAsk, provider_id: str, tenant: str | None
    ) -> RefreshResult | Wait:
        provider = self._desk.ready(provider_id)
        if not isinstance(provider, ReadyProvider):
            return RefreshResult(Outcome.DEFERRED, connection_id, code=provider.code)
        if self._guard.withholds(provider.facts):
            return RefreshResult(Outcome.DEFERRED, connection_id, code=RESTORE_GUARD)
        scope, asked_at = provider.scope_of(tenant), None
        if scope.max_per_second_of_account is not None:
            # Whose account it is stands in the row alone. Read of such providers only.
            row = self._tokens.read(connection_id)
            if row is None:
                return RefreshResult(Outcome.NOT_FOUND, connection_id, code="not_found")
            ref, _, asked_at = row
            account = provider.account_of(
                account_id=ref.account_id, tenant=tenant, connection_id=connection_id
            )
            scope = replace(scope, account=account)
        with self._admission.admit(scope) as gate:
            if isinstance(gate, Denied):
                return self._denials.denied(connection_id, ask, scope, gate, asked_at=asked_at)
            # Under way before the claim is sent: no report may call settled what is about to be stamped.
            with self._flights.flight() as flight:
                return self._claim(connection_id, ask, provider, flight)

    def _claim(
        self, connection_id: UUID, ask: RefreshAsk, provider: ReadyProvider, flight: int
    ) -> RefreshResult | Wait:
        timing = timing_of(provider.facts)
        condition = condition_of(ask)

        def withheld_by_now() -> bool:
            # What the connection that carries the claim has found when it was made: see `RestoreGuard`.
            return self._guard.closed and withheld(provider.facts)

        for _ in range(MOST_LOOKS):
            attempt_id = uuid4()
            # Taken before the statement is sent, so that our idea of the lease's end is never later than
            # Postgres' own.
            began = self._clock()
            claimed = self._tokens.claim(
                connection_id,
                attempt_id=attempt_id,
                owner=self._owner,
                lease=timing.lease,
                when=condition,
                unless=withheld_by_now,
            )
            if claimed is not None:
                return self._present(claimed, provider, attempt_id, began, timing, flight)
            if withheld_by_now():
                return RefreshResult(Outcome.DEFERRED, connection_id, code=RESTORE_GUARD)
            row = self._tokens.read(connection_id)
            if row is None:
                return RefreshResult(Outcome.NOT_FOUND, connection_id, code="not_found")
            ref, token, now = row
            if ref.provider_id != provider.definition.id:
                return self._foreign(token, provider, now)
            answer = answer_of(token, ask, now)
            if answer is not None:
                return answer
            match standing(token, ask, now=now):
                case Lapsed():
                    self._recovery.doubt(token, provider, now=now)
                case Recover():
                    if self._recovery.put_off(token, provider, now=now):
                        continue
                    began = self._clock()
                    claimed = self._tokens.claim_recovery(
                        connection_id,
                        seen=token.attempt_id,
                        attempt_id=attempt_id,
                        owner=self._owner,
                        lease=timing.lease,
                        unless=withheld_by_now,
                    )
                    if claimed is not None:
                        log.info(
                            "recovery_began", connection_id=str(connection_id), attempt_id=str(attempt_id)
                        )
                        return self._present(claimed, provider, attempt_id, began, timing, flight)
                case _:
                    pass  # It has changed since, and looks claimable now.
        return RefreshResult(Outcome.DEFERRED, connection_id, code="lease_held")

    def _present(
        self,
        claimed: Claimed,
        provider: ReadyProvider,
        attempt_id: UUID,
        began: float,
        timing: Timing,
        flight: int,
    ) -> RefreshResult:
        if claimed.ref.provider_id != provider.definition.id:
            self._tokens.release(claimed.ref.connection_id, attempt_id)
            return self._foreign(claimed.state, provider, claimed.now)
        known = self._clock()
        lease_ends = began + timing.lease.total_seconds()
        result = self._presentation.run(
            claimed,
            provider,
            attempt_id,
            began=began,
            known=known,
            lease_ends=lease_ends,
            deadline=timing.deadline,
            flight=flight,
        )
        if result is not None:
            return result
        # The fence did not hold: somebody else has written the row meanwhile. What it says now is the answer.
        row = self._tokens.read(claimed.ref.connection_id)
        if row is None:
            return RefreshResult(Outcome.NOT_FOUND, claimed.ref.connection_id, code="not_found")
        _, token, now = row
        answer = answer_of(token, RefreshAsk(), now)
        if isinstance(answer, RefreshResult):
            return answer
        return of_token(token, Outcome.DEFERRED, token.refresh_due_at, "lease_held")

    def _foreign(self, token: TokenState, provider: ReadyProvider, now: datetime) -> RefreshResult:
        """Whoever asked named a provider that is not the row's: a token goes to its own provider alone.

        Whose token it is stands in the row. Anybody who can write to the broker can write a message.
        """
        log.warning(
            "wrong_provider", connection_id=str(token.connection_id), named=provider.definition.id,
            provider=token.provider_id,
        )  # fmt: skip
        return of_token(token, Outcome.DEFERRED, now, "wrong_provider")
