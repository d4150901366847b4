"""A staged answer that lands again, when others have landed since, changes nothing."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import SecretStr

from domain.token import Credentials
from storage.staging.envelope import seal_answer
from storage.tokens.landing import AlreadyLanded, Landed, Landing
from tests.storage.making import Bench, landing
from tests.storage.staged import OWNER

pytestmark = pytest.mark.servers


def staged(bench: Bench, answer: Landing) -> Landing:
    return seal_answer(answer, OWNER, bench.sealer).open(bench.sealer)


def answer_of(bench: Bench, connection_id: UUID, name: str, *, kept: bool) -> Landing:
    bench.set(connection_id, "refresh_due_at = clock_timestamp(), last_refreshed_at = NULL")
    claimed = bench.claimed(connection_id)
    if kept:
        return landing(claimed, credentials=Credentials(SecretStr(f"AT-{name}"), None), keep_refresh=True)
    return landing(claimed, name)


@pytest.mark.parametrize("kept", [False, True], ids=["rotated", "refresh token kept"])
@pytest.mark.parametrize("later", [0, 1, 2])
def test_a_second_landing_writes_nothing(bench: Bench, kept: bool, later: int) -> None:
    """Neither a spare nor a line of activity, whatever has landed in between."""
    connection_id = bench.new()
    answer = staged(bench, answer_of(bench, connection_id, "2", kept=kept))
    assert bench.store.land(answer) == Landed(2, was_alerted=False)
    for number in range(later):
        bench.store.land(answer_of(bench, connection_id, f"{3 + number}", kept=kept))
    before = bench.kinds(connection_id)

    again = bench.store.land(answer)

    assert again == AlreadyLanded(2 + later)
    assert bench.kinds(connection_id) == before
    assert bench.value("SELECT count(*) FROM spare_tokens") == 0


def test_the_activity_says_that_it_had_been_staged(bench: Bench) -> None:
    """Whoever reads the record sees why the answer is late."""
    connection_id = bench.new()
    bench.store.land(staged(bench, answer_of(bench, connection_id, "2", kept=False)))

    assert bench.value("SELECT detail->>'staged' FROM activity WHERE kind = 'refreshed'") == "true"
