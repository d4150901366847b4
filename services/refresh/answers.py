"""Between a caller and a row: what his ask means for the claim, and what he hears otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.asks import HeldByAnother, Outcome, RefreshAsk, Settled, standing
from domain.token import TokenState
from services.refresh.result import RefreshResult, of_token
from storage.tokens.claims import ClaimCondition


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: look again while the caller has patience; otherwise this is his answer."""

    otherwise: RefreshResult


def condition_of(ask: RefreshAsk) -> ClaimCondition:
    """Translate an ask into the claim's own words."""
    if ask.scheduled:
        return ClaimCondition.scheduled()
    if ask.if_version is not None:
        return ClaimCondition.if_version(ask.if_version)
    return ClaimCondition.force() if ask.force else ClaimCondition.on_demand(ask.min_validity)


def _settled(token: TokenState, verdict: Settled) -> RefreshResult:
    return of_token(token, verdict.outcome, verdict.retry_at, verdict.code)


def answer_of(token: TokenState, ask: RefreshAsk, now: datetime) -> RefreshResult | Wait | None:
    """Return what a caller hears of a row at which nothing is to be done now; None where something is."""
    match standing(token, ask, now=now):
        case Settled() as settled:
            return _settled(token, settled)
        case HeldByAnother(until):
            return Wait(of_token(token, Outcome.DEFERRED, until, "lease_held"))
        case _:
            return None
