"""Claims and landings of many threads, carried out together in one statement.

A group never waits for a row: what somebody else is writing at this moment is passed over, and whoever has
not got what he asked for in the group asks once more, alone. So nobody waits here for a row that is not his,
two groups cannot deadlock, and one bad row costs the others of its group a repetition and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Engine

from domain.errors import ServiceUnavailable
from storage.combining import Combiner, GroupFailed
from storage.direct import direct
from storage.tokens.arrays import array
from storage.tokens.claim_statements import CLAIM_GROUP
from storage.tokens.landing_statements import LAND_GROUP
from storage.tokens.rows import ATTEMPT

#: The most claims or landings of one statement.
MOST: Final = 32
#: A row of the table's, as `STATE_COLUMNS` and `SEALED_COLUMNS` name it.
ClaimedRow = tuple[Any, ...]
Request = TypeVar("Request")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class WantedClaim:
    """A claim of a token whose refresh is due. `unless`: as `Claims.claim` has it."""

    connection_id: UUID
    attempt_id: UUID
    owner: str
    lease: timedelta
    unless: Callable[[], bool]

    def withheld(self) -> bool:
        """Say whether it is not to be made in the group: where it must not be made, or nobody can say."""
        try:
            return self.unless()
        except Exception:  # noqa: BLE001 - the caller's own, who asks himself and hears it when he claims alone
            return True


class Groups:
    """The groups of one store; thread-safe."""

    def __init__(self, engine: Engine, *, most: int = MOST, lanes: int = 1) -> None:
        self._engine = engine
        self._claims = Combiner(self._claim_all, most=most, lanes=lanes)
        self._landings = Combiner(self._land_all, most=most, lanes=lanes)

    def claim(self, wanted: WantedClaim) -> ClaimedRow | None:
        """Claim together with whoever else does so at this moment; None: not in the group, claim alone.

        Raises:
            ServiceUnavailable: Whether it was claimed is unknown.
            GroupFailed: So it is, and Postgres can be asked: give it back before you claim alone.
        """
        return _asked(self._claims, wanted)

    def land(self, answer: dict[str, Any]) -> int | None:
        """Land together with whoever else does so at this moment; None: not in the group, land alone.

        Args:
            answer: What `LAND[False, False]` is given.

        Returns:
            The row's new version, which is durable.

        Raises:
            ServiceUnavailable: Whether it landed is unknown.
        """
        try:
            return _asked(self._landings, answer)
        except GroupFailed:
            # One bad row, or the end of the thread that led: each tries alone, and hears what is his.
            return None

    def _claim_all(self, group: list[WantedClaim]) -> list[ClaimedRow | None]:
        with direct(self._engine) as connection:
            # Asked now: the connection that carries the claims may have been made this moment.
            made = sorted((one for one in group if not one.withheld()), key=_row_of)
            if not made:
                return [None] * len(group)
            rows = CLAIM_GROUP.run(
                connection,
                {
                    "connection_id": array(one.connection_id for one in made),
                    "attempt_id": array(one.attempt_id for one in made),
                    "owner": array(one.owner for one in made),
                    "lease": array(one.lease for one in made),
                },
            )
        taken = {row[ATTEMPT]: row for row in rows}
        return [taken.get(one.attempt_id) for one in group]

    def _land_all(self, group: list[dict[str, Any]]) -> list[int | None]:
        # Documents and digests go into their arrays as texts of their own.
        answers = [
            answer
            | {
                "same_digests": array(answer["same_digests"]),
                "note_detail": json.dumps(answer["note_detail"]),
            }
            for answer in sorted(group, key=_row_of_answer)
        ]
        arrays = {name: array([answer[name] for answer in answers]) for name in LAND_GROUP.names}
        with direct(self._engine) as connection:
            landed = dict(LAND_GROUP.run(connection, arrays))
        # Once each: of two landings of the same answer, one has landed it, and the other recognises that.
        return [landed.pop(one["by_attempt"], None) for one in group]


def _row_of(wanted: WantedClaim) -> UUID:
    return wanted.connection_id


def _row_of_answer(answer: Mapping[str, Any]) -> UUID:
    row: UUID = answer["wanted_id"]
    return row


def _asked(combiner: Combiner[Request, Outcome | None], request: Request) -> Outcome | None:
    try:
        return combiner.ask(request)
    except GroupFailed as failed:
        if isinstance(failed.__cause__, ServiceUnavailable):
            raise ServiceUnavailable(str(failed)) from failed.__cause__
        raise
