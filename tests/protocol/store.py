"""The token store in memory: one connection, with the semantics of the statements in `storage/tokens`.

`test_faithful.py` holds both together. Values going in and out are the real store's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.policy import EXPLAINING, PRESENTED_TWICE
from domain.schedule import Schedule
from domain.timing import LONGEST_UNDER_WAY
from domain.token import Credentials, ReauthReason, Status, TokenState
from storage.schema import SPENT_KEPT
from storage.tokens.claims import ClaimCondition
from storage.tokens.failing import FailureRecord
from storage.tokens.landing import AlreadyLanded, Gone, Landed, Landing, LandResult, Superseded
from tests.protocol.mutants import Mutant
from tests.protocol.rows import (
    Held,
    Row,
    Spare,
    in_the_clear,
    is_asked_for,
    is_due,
    is_free,
    spare_of,
)

LIVING: Final = (Status.ACTIVE, Status.IN_DOUBT)


@dataclass
class ModelStore:
    """Every method is one statement or transaction: nothing comes between its reading and its writing."""

    clock: Callable[[], datetime]
    row: Row
    mutants: frozenset[Mutant] = frozenset()
    spares: list[Spare] = field(default_factory=list)
    #: The attempts whose landing has its line of activity.
    landed: set[UUID] = field(default_factory=set)

    def read(self) -> tuple[TokenState, datetime]:
        return self.row.state, self.clock()

    def _change(self, **changes: object) -> None:
        self.row = replace(self.row, state=replace(self.row.state, **changes))  # type: ignore[arg-type]  # the callers name fields

    # Claims.

    def may_claim(self, when: ClaimCondition) -> bool:
        state, now = self.row.state, self.clock()
        unresolved = state.presented_at is not None and Mutant.UNRESOLVED_IS_CLAIMED not in self.mutants
        return (
            is_free(state, now)
            and state.status is Status.ACTIVE
            and state.refreshable
            and not unresolved
            and is_asked_for(state, when, now)
        )

    def may_recover(self, seen: UUID | None) -> bool:
        state, now = self.row.state, self.clock()
        as_read = state.attempt_id == seen or Mutant.RECOVERY_AS_FOUND in self.mutants
        doubtful = state.status is Status.IN_DOUBT and as_read
        return is_free(state, now) and doubtful and is_due(state, now)

    def claim(self, *, attempt_id: UUID, lease: timedelta, when: ClaimCondition) -> Held | None:
        if not self.may_claim(when):
            return None
        now, due = self.clock(), self.row.state.refresh_due_at or self.clock()
        return self._stamp(
            attempt_id,
            lease,
            now,
            first_presented_at=now,
            refresh_due_at=min(due, now),
        )

    def claim_recovery(self, *, seen: UUID | None, attempt_id: UUID, lease: timedelta) -> Held | None:
        if not self.may_recover(seen):
            return None
        now = self.clock()
        return self._stamp(
            attempt_id, lease, now, first_presented_at=self.row.state.first_presented_at or now
        )

    def _stamp(self, attempt_id: UUID, lease: timedelta, now: datetime, **stamps: datetime) -> Held:
        self._change(attempt_id=attempt_id, lease_until=now + lease, presented_at=now, **stamps)
        return Held(self.row.state, now, self.row.refresh)

    def release(self, attempt_id: UUID, *, refresh_due_at: datetime | None = None) -> bool:
        state = self.row.state
        if state.attempt_id != attempt_id:
            return False
        doubted = state.status is Status.IN_DOUBT
        still = doubted and state.presented_at != state.first_presented_at
        due = state.refresh_due_at
        if doubted and not still:
            due = min(due or self.clock(), self.clock())
        self._change(
            status=Status.ACTIVE if doubted and not still else state.status,
            attempt_id=None,
            lease_until=None,
            presented_at=None,
            first_presented_at=state.first_presented_at if still else None,
            refresh_due_at=refresh_due_at or due,
        )
        return True

    def mark_lapsed(self, *, attempt_id: UUID, recover_at: datetime) -> bool:
        state, now = self.row.state, self.clock()
        lapsed = state.lease_until is not None and state.lease_until < now
        if state.attempt_id != attempt_id or state.status not in LIVING or not lapsed:
            return False
        if state.presented_at is None:
            return False
        self._change(
            status=Status.IN_DOUBT,
            lease_until=None,
            refresh_due_at=recover_at,
            last_error_code=self._last_error("lease_lapsed"),
        )
        return True

    def _last_error(self, code: str, *, dead: bool = False) -> str:
        return code if dead else next((k for k in EXPLAINING if k == self.row.state.last_error_code), code)

    # Landings.

    def land(self, landing: Landing) -> LandResult:
        state = self.row.state
        if state.grant_id != landing.grant_id and Mutant.NO_GRANT_FENCE not in self.mutants:
            return Gone("other_grant")
        if state.status is Status.DISCONNECTED:
            return Gone("disconnected")
        if state.committed_attempt_id == landing.attempt_id:
            return AlreadyLanded(state.version)
        if state.version == landing.presented_version or Mutant.NO_VERSION_FENCE in self.mutants:
            return self._land(landing)
        if in_the_clear(landing.credentials)[1] in self.row.spent or landing.attempt_id in self.landed:
            return AlreadyLanded(state.version)
        if any(spare.attempt_id == landing.attempt_id for spare in self.spares):
            return AlreadyLanded(state.version)
        self.spares.append(spare_of(landing))
        return Superseded(state.version)

    def _land(self, landing: Landing) -> Landed:
        state, now, schedule = self.row.state, self.clock(), landing.schedule
        access, refresh = in_the_clear(landing.credentials)
        if landing.keep_refresh and refresh is None:
            refresh = self.row.refresh
        held_by_another = (
            state.attempt_id is not None
            and state.attempt_id != landing.attempt_id
            and state.lease_until is not None
            and state.lease_until > now
        )
        rival_ends = self._rival_ends(state, landing.attempt_id)
        twice = rival_ends or state.reauth_reason == ReauthReason.ROTATION_PROBABLY_LOST
        was_alerted = state.alerted
        self.landed.add(landing.attempt_id)
        self._exchange(access, refresh)
        self._change(
            status=Status.ACTIVE,
            version=state.version + 1,
            issued_at=schedule.issued_at,
            expires_at=schedule.expires_at,
            refresh_due_at=schedule.refresh_due_at,
            check_due_at=state.check_due_at or schedule.check_due_at,
            not_before=rival_ends,
            attempt_id=None,
            lease_until=state.lease_until if held_by_another else None,
            presented_at=None,
            first_presented_at=None,
            committed_attempt_id=landing.attempt_id,
            failures=0,
            check_failures=state.check_failures if state.status in LIVING else 0,
            last_error_code=PRESENTED_TWICE if twice else None,
            last_refreshed_at=now,
            reauth_reason=None,
            alerted=False,
        )
        return Landed(state.version + 1, was_alerted)

    def _exchange(self, access: str, refresh: str | None) -> None:
        """Replace the pair; a refresh token that is replaced by another one is spent."""
        spent, current = self.row.spent, self.row.refresh
        if current is not None and current != refresh:
            spent = (current, *spent)[:SPENT_KEPT]
        self.row = replace(self.row, access=access, refresh=refresh, spent=spent)

    def promote_spare(self, *, grant_id: UUID, version: int, attempt_id: UUID) -> bool:
        state, now = self.row.state, self.clock()
        if (state.grant_id, state.version) != (grant_id, version) or state.status is Status.DISCONNECTED:
            return False
        rival_ends = self._rival_ends(state, attempt_id)
        spent = {self.row.refresh, *self.row.spent}
        numbered = enumerate(self.spares)
        for _, spare in sorted(numbered, key=lambda item: (-item[1].version, -item[0])):
            access, refresh = in_the_clear(spare.credentials)
            if spare.grant_id != grant_id or refresh is None or refresh in spent:
                continue
            self.spares.remove(spare)
            self._exchange(access, refresh)
            self._change(
                status=Status.ACTIVE,
                version=version + 1,
                issued_at=spare.issued_at,
                expires_at=spare.expires_at,
                refresh_due_at=max(now, rival_ends or now),
                not_before=rival_ends,
                attempt_id=None,
                lease_until=None,
                presented_at=None,
                first_presented_at=None,
                committed_attempt_id=spare.attempt_id,
                last_error_code=PRESENTED_TWICE,
                reauth_reason=None,
                alerted=False,
            )
            return True
        return False

    def _rival_ends(self, state: TokenState, attempt_id: UUID) -> datetime | None:
        """When the provider has come to an end with another attempt's presentation; None: there is none."""
        if state.presented_at is None or state.attempt_id in {None, attempt_id}:
            return None
        ends = timedelta() if Mutant.RIVALS_IGNORED in self.mutants else LONGEST_UNDER_WAY
        return state.presented_at + ends

    # Failures.

    def record_failure(self, failure: FailureRecord) -> bool:
        state = self.row.state
        moved_on = (state.attempt_id, state.version) != (failure.attempt_id, failure.version)
        deadly = failure.status is Status.NEEDS_REAUTH and Mutant.NO_DEATH_FENCE in self.mutants
        if moved_on and not deadly:
            return False
        doubt = failure.status is Status.IN_DOUBT
        self._change(
            status=failure.status,
            failures=failure.failures,
            last_error_code=self._last_error(failure.code, dead=failure.status is Status.NEEDS_REAUTH),
            refresh_due_at=failure.refresh_due_at,
            check_due_at=None if failure.status is Status.NEEDS_REAUTH else state.check_due_at,
            not_before=failure.not_before,
            lease_until=None,
            attempt_id=state.attempt_id if doubt else None,
            presented_at=state.presented_at if doubt else None,
            first_presented_at=state.first_presented_at if doubt else None,
            reauth_reason=None if failure.reauth_reason is None else str(failure.reauth_reason),
            alerted=state.alerted or failure.alert is not None,
        )
        return True

    # What users do.

    def import_grant(
        self, credentials: Credentials, schedule: Schedule, *, grant_id: UUID, replace_credentials: bool
    ) -> str:
        """Return `kept`, `replaced` or `refused`."""
        state, (access, refresh) = self.row.state, in_the_clear(credentials)
        if refresh in self.row.spent:
            return "refused"
        if refresh is not None and refresh == self.row.refresh:
            wanted = replace_credentials and state.presented_at is None
        else:
            wanted = replace_credentials or state.status not in LIVING
        if not wanted:
            return "kept"
        self.row = replace(self.row, access=access, refresh=refresh)
        self.spares.clear()
        self.row = replace(
            self.row,
            state=TokenState(
                state.connection_id,
                state.provider_id,
                Status.ACTIVE,
                state.version + 1,
                grant_id,
                issued_at=schedule.issued_at,
                expires_at=schedule.expires_at,
                refresh_due_at=schedule.refresh_due_at,
                check_due_at=schedule.check_due_at,
                refreshable=refresh is not None,
            ),
        )
        return "replaced"

    def disconnect(self) -> None:
        """Erase the credentials, and end everything that was planned or held."""
        self.spares.clear()
        self.row = replace(self.row, access=None, refresh=None)
        self._change(
            status=Status.DISCONNECTED,
            refresh_due_at=None,
            check_due_at=None,
            not_before=None,
            lease_until=None,
            attempt_id=None,
            presented_at=None,
            first_presented_at=None,
        )
