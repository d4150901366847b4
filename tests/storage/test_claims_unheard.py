"""Claims that a group has made without anybody's hearing of it: none is left behind as a doubt."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from domain.token import Status
from storage.direct import Direct
from storage.tokens.claims import Claimed
from tests.storage.grouping import gathered
from tests.storage.making import Bench


def claiming(bench: Bench, ids: list[UUID]) -> list[Future[Claimed | None]]:
    with gathered(bench.store._groups._claims) as together:
        futures: list[Future[Claimed | None]] = together([partial(bench.claim, each) for each in ids])
        for future in futures:
            future.exception(60)
    return futures


def test_a_row_that_cannot_be_read_costs_no_other_its_claim(bench: Bench) -> None:
    """Postgres has committed when it shows: the others give back what they do not have, and claim alone."""
    ids = [bench.new(str(number)) for number in range(4)]
    # Python's years end with 9999.
    bench.set(ids[1], "expires_at = 'infinity'")

    futures = claiming(bench, ids)

    assert isinstance(futures[1].exception(), DBAPIError)
    for place in (0, 2, 3):
        connection_id, claimed = ids[place], futures[place].result()
        assert claimed is not None
        assert bench.column(connection_id, "attempt_id") == claimed.state.attempt_id


@pytest.mark.parametrize("ending", [SystemExit(), KeyboardInterrupt()])
def test_a_leader_that_is_ended_after_the_commit_leaves_the_others_their_claims(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    """They hear that nobody knows, and each still gets his token, claimed once, by his own attempt."""
    ids = [bench.new(str(number)) for number in range(4)]
    run = Direct.run

    def ended(self: Direct, connection: psycopg.Connection[Any], parameters: dict[str, object]) -> None:
        run(self, connection, parameters)
        raise ending

    monkeypatch.setattr(Direct, "run", ended)
    futures = claiming(bench, ids)

    heard = [future.exception() for future in futures]
    assert [each for each in heard if each is not None] == [ending]
    claimed = [future.result() for future in futures if future.exception() is None]
    assert all(each is not None and each.state.status is Status.ACTIVE for each in claimed)
    rows = {bench.column(connection_id, "attempt_id") for connection_id in ids}
    assert {each.state.attempt_id for each in claimed if each is not None} < rows
    assert len(rows) == 4
