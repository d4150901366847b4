"""What becomes of a refresh that is not admitted: the row stays due, and comes up again in its turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.asks import Outcome, RefreshAsk
from services.admission import ACCOUNT_RATE, CONCURRENCY, Admission, Denied
from services.crowding import Crowding
from services.refresh.answers import Wait
from services.refresh.result import RefreshResult
from services.scopes import Scope
from storage.tokens.store import TokenStore

#: Callers wait in their places for an account that has room again within this time.
_MOMENT: Final = timedelta(seconds=1)


class Denials:
    """One per process; thread-safe."""

    def __init__(self, tokens: TokenStore, admission: Admission, crowding: Crowding) -> None:
        self._tokens = tokens
        self._admission = admission
        self._crowding = crowding

    def denied(
        self, connection_id: UUID, ask: RefreshAsk, scope: Scope, gate: Denied, *, asked_at: datetime | None
    ) -> RefreshResult | Wait:
        """Give a scheduled refresh back, and say what its caller hears.

        Args:
            asked_at: Postgres' time when the row was read; None: it was not, since accounts have no rate.

        Raises:
            ServiceUnavailable: Postgres is away; the scheduler's mark runs out by itself.
        """
        if ask.scheduled:
            # The thread is others' at once. The row stays due: without its mark a later tick takes it up, in
            # its turn, and told of it the scheduler publishes no more than there are slots for.
            if gate.code == ACCOUNT_RATE:
                # Of its account alone. Taken up at once it would come before all the others each time.
                self._tokens.put_off(connection_id, self._admission.turn(scope))
                self._crowding.put_off(scope)
            else:
                self._tokens.unmark([connection_id])
            if gate.code == CONCURRENCY:
                self._crowding.turned_away(scope)
        retry_at, worth_waiting = gate.retry_at, gate.retry_at is None
        if gate.code == ACCOUNT_RATE and asked_at is not None:
            # Other denials pass in a moment. This one may take minutes, which callers would spend asking, and
            # in places that those of the provider's other accounts need.
            room_in = self._admission.room_in(scope)
            retry_at, worth_waiting = asked_at + room_in, room_in <= _MOMENT
        deferred = RefreshResult(Outcome.DEFERRED, connection_id, retry_at=retry_at, code=gate.code)
        return Wait(deferred) if worth_waiting and not ask.scheduled else deferred
