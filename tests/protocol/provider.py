"""Providers in memory: what they do with a refresh token, and when.

A presentation is under way from its send until the provider has come to an end with it, which may be well
after the worker has given it up, but not later than the settling time allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from domain.errors import GrantRejected, OutcomeUnknown, ProviderError, Unavailable
from domain.provider import GrantKind, ProviderFacts, Rotation, Timing
from domain.timing import timing_of
from domain.token import Answer

HOUR: Final = timedelta(hours=1)


class Kind(StrEnum):
    """How a provider rotates."""

    #: The refresh token stays.
    FREE = "free"
    #: Ten minutes in which a spent token brings the same successor again.
    WINDOW = "window"
    #: A window that leaves room for tight timing only.
    NARROW = "narrow"
    #: A window in which every presentation mints another successor, of which only the newest is honoured.
    FORKING = "forking"
    #: A spent token kills its grant (RFC 9700 §4.14.2).
    STRICT = "strict"


WINDOWS: Final = {
    Kind.WINDOW: timedelta(minutes=10),
    Kind.NARROW: timedelta(seconds=60),
    Kind.FORKING: timedelta(minutes=10),
    Kind.STRICT: timedelta(0),
}


def facts_of(kind: Kind) -> ProviderFacts:
    """What a definition would say of it."""
    rotation = Rotation.NONE if kind is Kind.FREE else Rotation.SINGLE_USE
    return ProviderFacts(str(kind), GrantKind.REFRESH_TOKEN, rotation, WINDOWS.get(kind), HOUR)


class Fate(StrEnum):
    """What becomes of a presentation."""

    ANSWERED = "answered"
    CUT_AFTER = "processed, and the connection cut"
    CUT_BEFORE = "the connection cut, and never processed"
    NOT_NOW = "answered that it was not processed"


@dataclass(eq=False)
class Call:
    """One presentation, from both ends of the wire.

    Attributes:
        stopped: The process was stopped between its last look at its lease and the send.
        ended: The provider does nothing more with it.
        reply: What lies in the worker's socket; None: nothing yet.
        resolved: An answer to it, or its refusal, has been written down.
        needless: It was sent although it was known what the same token's presentation had come to.
    """

    attempt_id: UUID
    token: str
    recovery: bool
    stopped: bool
    sent_at: datetime
    ends_by: datetime
    ended: bool = False
    reply: Answer | ProviderError | None = None
    resolved: bool = False
    needless: bool = False


@dataclass
class Grant:
    """A user's grant. Its refresh tokens are numbered as minted; `uses` says when each was sent first."""

    name: str
    alive: bool = True
    revoked: bool = False
    minted: int = 1
    current: int = 1
    uses: dict[int, datetime] = field(default_factory=dict)

    def token(self, number: int) -> str:
        return f"{self.name}.{number}"


@dataclass
class ModelProvider:
    """One provider, any number of grants."""

    kind: Kind
    clock: Callable[[], datetime]
    #: Called with each presentation of a spent token that no window covers, when it is processed.
    on_spent: Callable[[Call], None] = lambda _: None
    grants: dict[str, Grant] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @property
    def timing(self) -> Timing:
        return timing_of(facts_of(self.kind))

    def mint(self) -> Grant:
        grant = Grant(f"grant-{len(self.grants) + 1}")
        self.grants[grant.name] = grant
        return grant

    def grant_of(self, token: str) -> Grant:
        return self.grants[token.rsplit(".", 1)[0]]

    def honours(self, token: str | None) -> bool:
        """Say whether presenting this token now would bring an answer."""
        if token is None:
            return False
        grant, number = self.grant_of(token), int(token.rsplit(".", 1)[1])
        return grant.alive and (number == grant.current or self._replays(grant, number))

    def receive(self, *, attempt_id: UUID, token: str, recovery: bool, stopped: bool) -> Call:
        now = self.clock()
        ends_by = now + self.timing.deadline + self.timing.settling
        call = Call(attempt_id, token, recovery, stopped, now, ends_by)
        self.calls.append(call)
        return call

    def under_way(self) -> list[Call]:
        return [call for call in self.calls if not call.ended]

    def end(self, call: Call, fate: Fate) -> None:
        """Come to an end with a presentation, and leave in the worker's socket what it is to see."""
        call.ended = True
        match fate:
            case Fate.NOT_NOW:
                call.reply = Unavailable("unavailable", http_status=503)
            case Fate.CUT_BEFORE:
                call.reply = OutcomeUnknown("connection_lost")
            case Fate.CUT_AFTER:
                self._process(call)
                call.reply = OutcomeUnknown("connection_lost")
            case Fate.ANSWERED:
                call.reply = self._process(call)

    def _process(self, call: Call) -> Answer | ProviderError:
        grant, number = self.grant_of(call.token), int(call.token.rsplit(".", 1)[1])
        if not grant.alive:
            return GrantRejected("invalid_grant", http_status=400)
        if self.kind is Kind.FREE:
            return self._answer(grant, None)
        if number == grant.current or self._replays(grant, number):
            grant.uses.setdefault(number, call.sent_at)
            if number == grant.current or self.kind is Kind.FORKING:
                grant.minted += 1
                grant.current = grant.minted
            return self._answer(grant, grant.token(grant.current))
        if number in grant.uses:
            self.on_spent(call)
            if self.kind is Kind.STRICT:
                grant.alive = False
        return GrantRejected("invalid_grant", http_status=400)

    def _replays(self, grant: Grant, number: int) -> bool:
        """A window is counted from the first presentation, and ends when a successor is used."""
        used_at = grant.uses.get(number)
        window = WINDOWS.get(self.kind, timedelta(0))
        if used_at is None or not window or max(grant.uses) > number:
            return False
        return self.clock() <= used_at + window

    def _answer(self, grant: Grant, refresh: str | None) -> Answer:
        access = SecretStr(f"{grant.name}-access-{len(self.calls)}")
        return Answer(access, None if refresh is None else SecretStr(refresh), HOUR)
