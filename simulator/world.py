"""What can happen at the simulated providers. Each happening is recorded as one event and then applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from simulator.grants import Grant, Presentation, Verdict, judge, lived_out
from simulator.memory import DialectState, Event, Memory
from simulator.settings import UNTIL_SUCCESSOR_USED, DialectSettings, Span
from simulator.tokens import AccessTokenFacts, TokenSmith


class Issued(NamedTuple):
    """An access token just made. `expires_in` is whole seconds; None means that it never expires."""

    access_token: str
    expires_in: int | None


class World(Memory):
    """The memory together with everything that may be done to it."""

    def __init__(
        self, smith: TokenSmith, states: Mapping[str, DialectState], *, history_length: int, rng: Random
    ) -> None:
        super().__init__(states, history_length=history_length)
        self.smith = smith
        self.record: Callable[[Event], None] = lambda _event: None
        self._rng = rng

    # What the control interface asks for.

    def mint(
        self,
        dialect: str,
        count: int,
        *,
        now: float,
        user: str,
        owner: str,
        scope: str | None,
        client_id: str | None,
        lifetime: Span | None,
        first_lifetime: Span | None,
    ) -> range:
        """Make `count` grants and return their numbers. ``{n}`` in `user` becomes the grant's number."""
        state = self.states[dialect]
        first = len(state.grants)
        self._happen(
            [
                "mint",
                dialect,
                {
                    "first": first,
                    "count": count,
                    "at": now,
                    "user": user,
                    "owner": owner,
                    "scope": state.default_scope if scope is None else scope,
                    "client_id": client_id,
                    "lifetime": None if lifetime is None else lifetime.as_json(),
                    "first_lifetime": None if first_lifetime is None else first_lifetime.as_json(),
                    "seed": self._rng.getrandbits(63),
                },
            ]
        )
        return range(first, first + count)

    def kill(self, grant: Grant, reason: str, *, now: float) -> bool:
        """End the grant with all its tokens; return False if it was dead already."""
        if not grant.alive:
            return False
        self._happen(["kill", grant.dialect, grant.number, reason, now])
        return True

    def configure(self, dialect: str, settings: DialectSettings) -> None:
        """Set the dialect's settings."""
        self._happen(["settings", dialect, settings.as_json()])

    def reset_counters(self) -> None:
        """Set every count to zero and forget incidents; grants and their histories stay."""
        for name in self.states:
            self._happen(["reset", name])

    # What requests do.

    def present(self, grant: Grant, generation: int, *, arrived_at: float, now: float) -> Verdict:
        """Judge a presented refresh token, and kill the grant whose time is over, or for reuse."""
        state = self.states[grant.dialect]
        over = lived_out(grant, state.settings, at=arrived_at) if grant.alive else None
        if over is not None:
            self.kill(grant, over, now=now)
        verdict = judge(grant, generation, state.settings, arrived_at=arrived_at)
        if verdict is Verdict.REUSE and state.settings.reuse_kills:
            self.kill(grant, "reuse", now=now)
        return verdict

    def issue(self, grant: Grant, *, now: float, rotated_at: float | None) -> Issued:
        """Make an access token; where `rotated_at` is given, a successor of the refresh token as well."""
        span = grant.lifetime or self.states[grant.dialect].settings.lifetime
        expires_in = None if span is None else int(span.draw(self._rng))
        expires_at = None if expires_in is None else now + expires_in
        late = 0.0 if grant.access_expires_at is None else max(0.0, now - grant.access_expires_at)
        generation = grant.generation + (rotated_at is not None)
        self._happen(
            [
                "issue",
                grant.dialect,
                grant.number,
                (generation, grant.serial + 1, expires_at, rotated_at, late),
            ]
        )
        return Issued(self.access_token(grant), expires_in)

    def access_token(self, grant: Grant) -> str:
        """Return the grant's newest access token."""
        expires_ms = 0 if grant.access_expires_at is None else int(grant.access_expires_at * 1000)
        return self.smith.access_token(
            AccessTokenFacts(grant.dialect, grant.number, grant.generation, grant.serial, expires_ms)
        )

    def refresh_token(self, grant: Grant) -> str:
        """Return the grant's current refresh token."""
        return self.smith.refresh_token(grant.dialect, grant.number, grant.generation)

    def note_use(self, grant: Grant, generation: int) -> None:
        """Remember the use of a new access token, which ends some replay windows."""
        counts = self.states[grant.dialect].settings.window == UNTIL_SUCCESSOR_USED
        if counts and generation == grant.generation > 0 and not grant.successor_used:
            self._happen(["used", grant.dialect, grant.number])

    def note_token_request(self, dialect: str, number: int | None, presentation: Presentation) -> None:
        """Count a finished token request; `number` is None where no known grant's token was in it."""
        self._happen(["token", dialect, number, presentation])

    def note_check(self, dialect: str, result: str) -> None:
        """Count a finished check."""
        self._happen(["check", dialect, result])

    def note(self, dialect: str, counter: str) -> None:
        """Count a request of the two kinds that have no outcomes: ``revocations`` or ``elsewhere``."""
        self._happen(["note", dialect, counter])

    def note_fault(self, dialect: str, kind: str, *, answered: bool) -> None:
        """Count a stroke of a fault."""
        self._happen(["fault", dialect, kind, answered])

    def _happen(self, event: Event) -> None:
        self.record(event)
        self.apply(event)
