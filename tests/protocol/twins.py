"""The modelled store and the real one side by side: the same calls to both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import text

from domain.schedule import Schedule
from domain.token import Credentials, ReauthReason, Status, TokenState
from storage.activity import Note
from storage.alerts import AlertSpec
from storage.importing import NewConnection
from storage.tokens.claims import ClaimCondition, Claimed
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import Landing
from storage.tokens.store import TokenStore
from tests.protocol.rows import Held, Row
from tests.protocol.store import ModelStore
from tests.storage.grouping import alone
from tests.storage.making import Bench, pair

#: Time passes in tens of seconds; every instant that decides anything ends in five. What the calls themselves
#: take then never decides.
LEASE: Final = timedelta(seconds=45)
SOON: Final = timedelta(seconds=15)
LATER: Final = timedelta(seconds=35)
LIFE: Final = timedelta(seconds=110)
AGO: Final = timedelta(seconds=5)

INSTANTS: Final = (
    *("issued_at", "expires_at", "refresh_due_at", "check_due_at", "not_before", "lease_until"),
    *("presented_at", "first_presented_at", "last_refreshed_at"),
)
_DISCONNECT: Final = "status = 'disconnected', " + ", ".join(
    f"{name} = NULL"
    for name in (
        *("access_token", "refresh_token", "refresh_digest", "refresh_due_at", "check_due_at", "not_before"),
        *("lease_owner", "lease_until", "attempt_id", "presented_at", "first_presented_at"),
    )
)


CALLS: Final = (
    *("claim", "recover", "land", "fail", "mark", "release", "promote", "connect", "disconnect", "wait"),
)


def now() -> datetime:
    return datetime.now(UTC)


def fresh(due: timedelta) -> Schedule:
    """Of an answer that has just been given."""
    return Schedule(now(), now() + LIFE, now() + due, now() + timedelta(hours=1))


def half_used() -> Schedule:
    """Of an import: due."""
    return Schedule(now() - LIFE / 2, now() + LIFE / 2, now() - AGO, now() + timedelta(hours=1))


@dataclass
class Twins:
    """One connection, twice. Every method makes the same call to both and compares what they answer."""

    bench: Bench
    name: str
    claims: list[tuple[Claimed, Held]] = field(default_factory=list)
    grants: dict[UUID, UUID] = field(default_factory=dict)
    names: int = 1
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alone = alone(self.bench)
        schedule = half_used()
        self.id = self.bench.new(self.name, schedule=schedule)
        nothing = TokenState(self.id, "acme", Status.DISCONNECTED, 0, uuid4())
        self.model = ModelStore(now, Row(nothing, None, None))
        self.model.import_grant(pair("1"), schedule, grant_id=uuid4(), replace_credentials=True)

    def conditions(self) -> list[ClaimCondition]:
        version = self.model.row.state.version
        return [
            ClaimCondition.scheduled(),
            ClaimCondition.on_demand(timedelta(seconds=25)),
            ClaimCondition.if_version(version),
            ClaimCondition.if_version(version + 1),
            ClaimCondition.force(),
        ]

    def telling(self) -> list[str]:
        """Calls that would change something now, or would if the fences did not hold."""
        state, model = self.model.row.state, self.model
        calls = ["wait"]
        if any(model.may_claim(when) for when in self.conditions()):
            calls += ["claim", "claim", "claim"]
        if model.may_recover(state.attempt_id):
            calls += ["recover", "recover", "recover"]
        if state.lease_until is not None and state.lease_until < now():
            calls += ["mark", "mark"]
        if self.claims:
            calls += ["land"]
        if state.attempt_id is not None:
            calls += ["land", "fail", "fail", "release", "wait"]
        if model.spares:
            calls += ["promote", "promote"]
        if state.status in {Status.NEEDS_REAUTH, Status.DISCONNECTED}:
            calls += ["connect", "land"]
        return calls

    def make(self, call: str, which: int, number: int) -> None:
        """Make a call for one of the claims there have been; the number decides the rest of it."""
        result = getattr(self, call)(which, number)
        words = {True: "yes", False: "no", None: "-"}
        self.log.append(f"{call}:{words.get(result, result)}")

    # Calls. Each returns what both have answered; None: it was not made.

    def _any(self, which: int) -> tuple[Claimed, Held, UUID] | None:
        """One of the claims there have been: mostly the last one."""
        if not self.claims:
            return None
        claimed, held = self.claims[-1 - min((0, 0, 0, 0, 1, 2)[which % 6], len(self.claims) - 1)]
        assert claimed.state.attempt_id is not None
        return claimed, held, claimed.state.attempt_id

    def _store(self, number: int) -> TokenStore:
        """The real store: every other time without groups."""
        return self.alone if number % 2 else self.bench.store

    def claim(self, _: int, number: int) -> bool:
        when, attempt_id = self.conditions()[(0, 0, 0, 4, 1, 2, 3)[number % 7]], uuid4()
        real = self._store(number // 7).claim(
            self.id, attempt_id=attempt_id, owner="test", lease=LEASE, when=when
        )
        return self._both(real, self.model.claim(attempt_id=attempt_id, lease=LEASE, when=when))

    def recover(self, which: int, _: int) -> bool:
        """As the row is read; now and then as it was read long ago."""
        attempt_id, seen = uuid4(), self.model.row.state.attempt_id if which else uuid4()
        real = self.bench.recover(self.id, seen=seen, attempt_id=attempt_id, lease=LEASE)
        return self._both(real, self.model.claim_recovery(seen=seen, attempt_id=attempt_id, lease=LEASE))

    def _both(self, real: Claimed | None, held: Held | None) -> bool:
        assert (real is None) == (held is None)
        if real is not None and held is not None:
            opened = self.bench.store.open(real).refresh_token
            assert (None if opened is None else opened.get_secret_value()) == held.refresh
            self.claims.append((real, held))
        return real is not None

    def land(self, which: int, number: int) -> str | None:
        """The answer to any claim there was: with a new token, a known one, or the old one kept."""
        if (any_ := self._any(which)) is None:
            return None
        claimed, held, attempt_id = any_
        credentials = self._answer(number)
        landing = Landing(
            connection_id=self.id,
            grant_id=claimed.state.grant_id,
            presented_version=claimed.state.version,
            attempt_id=attempt_id,
            credentials=credentials,
            keep_refresh=credentials.refresh_token is None,
            schedule=fresh(LIFE / 2 if number % 2 else -AGO),
        )
        real = self._store(number // 2).land(landing)
        assert real == self.model.land(replace(landing, grant_id=held.state.grant_id))
        return type(real).__name__

    def _answer(self, number: int) -> Credentials:
        if number % 7 == 0:
            return Credentials(SecretStr("AT-kept"), None)
        if number % 7 > 1:
            self.names += 1
        return pair(str(max(1, self.names - (number % 7 == 2))))

    def fail(self, which: int, number: int) -> bool | None:
        if (any_ := self._any(which)) is None:
            return None
        claimed, _, attempt_id = any_
        status = (Status.ACTIVE, Status.IN_DOUBT, Status.NEEDS_REAUTH)[number % 3]
        dead = status is Status.NEEDS_REAUTH
        reasons = (ReauthReason.GRANT_REJECTED, ReauthReason.ROTATION_PROBABLY_LOST)
        record = FailureRecord(
            connection_id=self.id,
            attempt_id=attempt_id,
            version=claimed.state.version,
            status=status,
            failures=claimed.state.failures + 1,
            code="failed",
            refresh_due_at=None if dead else now() + (LATER if number % 2 else -AGO),
            note=Note("refresh_failed"),
            not_before=now() + LATER if status is Status.ACTIVE and number % 2 else None,
            reauth_reason=reasons[number % 2] if dead else None,
            alert=None if number % 7 else AlertSpec(str(self.id), "failing", "warning", "It fails", "Look."),
        )
        real = self.bench.store.record_failure(record)
        assert real == self.model.record_failure(record)
        return real

    def mark(self, which: int, number: int) -> bool | None:
        if (any_ := self._any(which)) is None:
            return None
        attempt_id, at = any_[2], now() + (-AGO if number % 3 else SOON)
        real = self.bench.store.mark_lapsed(self.id, attempt_id=attempt_id, recover_at=at)
        assert real == self.model.mark_lapsed(attempt_id=attempt_id, recover_at=at)
        return real

    def release(self, which: int, number: int) -> bool | None:
        if (any_ := self._any(which)) is None:
            return None
        attempt_id, due = any_[2], now() + SOON if number % 3 == 0 else None
        real = self.bench.store.release(self.id, attempt_id, refresh_due_at=due)
        assert real == self.model.release(attempt_id, refresh_due_at=due)
        return real

    def promote(self, which: int, number: int) -> bool | None:
        if (any_ := self._any(which)) is None:
            return None
        claimed, held, attempt_id = any_
        version = self.model.row.state.version if number % 7 else claimed.state.version
        real = self.bench.store.promote_spare(
            self.id, grant_id=claimed.state.grant_id, version=version, attempt_id=attempt_id
        )
        assert real == self.model.promote_spare(
            grant_id=held.state.grant_id, version=version, attempt_id=attempt_id
        )
        return real

    def connect(self, _: int, number: int) -> str:
        """Import again: a new grant, or a token that is known."""
        if number % 2:
            self.names += 1
        credentials, schedule = pair(str(self.names if number % 3 else 1)), half_used()
        line = NewConnection(f"user-{self.name}", "acme", credentials, schedule, refreshable=True)
        wanted = number % 5 < 3
        (real,) = self.bench.importer.import_batch([line], replace_credentials=wanted)
        outcome = self.model.import_grant(credentials, schedule, grant_id=uuid4(), replace_credentials=wanted)
        assert real.outcome == outcome
        return outcome

    def disconnect(self, *_: int) -> None:
        self.bench.set(self.id, _DISCONNECT)
        with self.bench.engine.begin() as connection:
            connection.execute(text("DELETE FROM spare_tokens WHERE connection_id = :id"), {"id": self.id})
        self.model.disconnect()

    def wait(self, _: int, number: int) -> None:
        """Move every instant back."""
        passed = timedelta(seconds=(50, 10, 60, 20)[number % 4])
        moved = ", ".join(f"{name} = {name} - CAST(:passed AS interval)" for name in INSTANTS)
        self.bench.set(self.id, moved, passed=passed)
        state = self.model.row.state
        known = {name: getattr(state, name) for name in INSTANTS if getattr(state, name) is not None}
        changes: dict[str, Any] = {name: moment - passed for name, moment in known.items()}
        self.model.row = replace(self.model.row, state=replace(state, **changes))
