"""What is to be seen of the modelled store and of the real one, and that it is the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from pydantic import SecretStr
from sqlalchemy import text

from storage.tokens.claims import ClaimCondition
from storage.tokens.groups import WantedClaim
from tests.protocol.rows import Spare, in_the_clear
from tests.protocol.twins import INSTANTS, LEASE, Twins

#: The two calls of a pair are made one after the other.
TOLERANCE: Final = timedelta(seconds=4)
_PLAIN: Final = (
    *("status", "version", "attempt_id", "committed_attempt_id", "failures", "check_failures"),
    *("last_error_code", "reauth_reason", "alerted", "refreshable"),
)
#: What a claim writes.
_CLAIMED: Final = (
    *("attempt_id", "lease_owner", "lease_until", "presented_at", "first_presented_at", "refresh_due_at"),
)


def compare(twins: Twins) -> None:
    """Fail where the two differ."""
    read = twins.bench.store.read(twins.id)
    assert read is not None
    real, model = read[1], twins.model.row.state
    assert twins.grants.setdefault(real.grant_id, model.grant_id) == model.grant_id
    for name in _PLAIN:
        assert getattr(real, name) == getattr(model, name), name
    for name in INSTANTS:
        theirs, ours = getattr(real, name), getattr(model, name)
        assert (theirs is None) == (ours is None), name
        assert ours is None or abs(ours - theirs) < TOLERANCE, name
    _compare_tokens(twins)
    _compare_claims(twins)


def _rows(twins: Twins, statement: str) -> list[dict[str, Any]]:
    with twins.bench.engine.begin() as connection:
        return [dict(row) for row in connection.execute(text(statement), {"id": twins.id}).mappings()]


def _compare_tokens(twins: Twins) -> None:
    def digest(token: str | None) -> bytes | None:
        return None if token is None else twins.bench.sealer.digest(SecretStr(token), twins.id)

    def shown(spare: Spare) -> dict[str, object]:
        refresh = digest(in_the_clear(spare.credentials)[1])
        return {"attempt_id": spare.attempt_id, "version": spare.version, "refresh_digest": refresh}

    row = twins.model.row
    (stored,) = _rows(twins, "SELECT refresh_digest, spent_digests FROM tokens WHERE connection_id = :id")
    assert stored["refresh_digest"] == digest(row.refresh)
    assert list(stored["spent_digests"]) == [digest(token) for token in row.spent]
    spares = _rows(
        twins,
        "SELECT attempt_id, version, refresh_digest FROM spare_tokens WHERE connection_id = :id "
        "ORDER BY received_at",
    )
    assert spares == [shown(spare) for spare in twins.model.spares]


def _compare_claims(twins: Twins) -> None:
    """Who may claim: each way is tried on the real row, which is then put back."""
    bench, model = twins.bench, twins.model
    (before,) = _rows(twins, f"SELECT {', '.join(_CLAIMED)} FROM tokens WHERE connection_id = :id")  # noqa: S608 - names from above
    put_back = ", ".join(f"{name} = :{name}" for name in _CLAIMED)
    for when in twins.conditions():
        taken = bench.claim(twins.id, when, lease=LEASE) is not None
        if taken:
            bench.set(twins.id, put_back, **before)
        assert taken == model.may_claim(when), when.kind
    # The store asks alone where a group has not got the row; what the group itself says must be the same.
    wanted = WantedClaim(twins.id, uuid4(), "test", LEASE, lambda: False)
    taken = bench.store._groups.claim(wanted) is not None
    if taken:
        bench.set(twins.id, put_back, **before)
    assert taken == model.may_claim(ClaimCondition.scheduled()), "in a group"
    seen = model.row.state.attempt_id
    taken = bench.recover(twins.id, seen=seen, lease=LEASE) is not None
    if taken:
        bench.set(twins.id, put_back, **before)
    assert taken == model.may_recover(seen)
