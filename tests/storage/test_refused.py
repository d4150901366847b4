"""What the end of a wave does to the rows that were refused in it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from domain.token import Status
from storage import refused
from storage.groups import Group
from storage.refused import RefusedStore
from tests.storage.making import HOUR, Bench, now

pytestmark = pytest.mark.servers
ACME = Group("acme-scope", "acme", whole=("acme",))


def refuse(bench: Bench, name: str, times: str) -> UUID:
    """A refused row; `times` says when it is due, and until when it is held off."""
    connection_id = bench.new(name)
    bench.set(connection_id, f"refused_at = now(), {times}")
    return connection_id


def test_nobody_is_put_off_by_being_brought_forward(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part: who waits long comes within the spread; who is due sooner stays so."""
    monkeypatch.setattr(refused, "_PART", 1)
    later = "refresh_due_at = now() + interval '1 hour', not_before = now() + interval '1 hour'"
    waiting = [refuse(bench, f"w{number}", later) for number in range(2)]
    soon = refuse(bench, "soon", "refresh_due_at = now(), not_before = NULL")

    RefusedStore(bench.engine).bring_forward(
        ACME, since=now() - HOUR, spread=timedelta(minutes=10), statuses=[Status.ACTIVE]
    )

    for connection_id in waiting:
        due = bench.column(connection_id, "refresh_due_at")
        assert due == bench.column(connection_id, "not_before")
        assert due < now() + timedelta(minutes=10)
    assert bench.column(soon, "not_before") is None
    assert bench.column(soon, "refresh_due_at") < now()
