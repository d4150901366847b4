"""When a refresh token dies, and whether refreshing moves that: landed with the answer, found by an index."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from domain.schedule import Schedule
from domain.token import Credentials
from storage.lives import LifeStore, Wanted
from tests.storage.making import HOUR, Bench, landing, now, pair

DAY = timedelta(days=1)
#: An answer without a refresh token.
KEPT = {"credentials": Credentials(SecretStr("AT-2"), None), "keep_refresh": True}
#: An answer that repeats the refresh token.
SAME = {"credentials": pair("1")}


def landed(
    bench: Bench, known: timedelta | None, told: timedelta | None, name: str = "1", **changes: Any
) -> UUID:
    """Refresh, an hour after the last time, a token whose end is known; instants are told from now."""
    connection_id = bench.new(name)
    at = now()
    bench.set(
        connection_id,
        "issued_at = :issued, refresh_expires_at = :known",
        issued=at - HOUR,
        known=None if known is None else at + known,
    )
    answer = landing(
        bench.claimed(connection_id),
        schedule=Schedule(at, at + HOUR, at + HOUR / 2, at + HOUR),
        refresh_expires_at=None if told is None else at + told,
        **changes,
    )
    bench.store.land(answer)
    return connection_id


def found(bench: Bench, connection_id: UUID) -> tuple[datetime | None, datetime | None]:
    return bench.column(connection_id, "refresh_expires_at"), bench.column(connection_id, "dies_at")


@pytest.mark.parametrize(
    ("known", "told", "changes", "expected", "dies"),
    [
        # Nothing was known, and the answer tells: whether refreshing moves it, only the next one can show.
        (None, DAY, {}, DAY, False),
        (None, DAY, KEPT, DAY, False),
        (None, None, {}, None, False),
        # The end stays where it was, though the answer says in its own words how much is left.
        (DAY, DAY, {}, DAY, True),
        (DAY, DAY + timedelta(seconds=5), KEPT, DAY + timedelta(seconds=5), True),
        (DAY, DAY - HOUR, {}, DAY - HOUR, True),
        (DAY, None, KEPT, DAY, True),
        (DAY, None, SAME, DAY, True),
        # Each refresh begins it anew.
        (DAY, DAY + HOUR, {}, DAY + HOUR, False),
        (DAY, DAY + HOUR, KEPT, DAY + HOUR, False),
        # Another token, of which nothing is known.
        (DAY, None, {}, None, False),
    ],
)
def test_an_end_that_a_refresh_does_not_move_is_kept_for_the_forecast(
    bench: Bench,
    known: timedelta | None,
    told: timedelta | None,
    changes: dict[str, Any],
    expected: timedelta | None,
    dies: bool,
) -> None:
    before = now()

    connection_id = landed(bench, known, told, **changes)

    ends_at, dies_at = found(bench, connection_id)
    if expected is None:
        assert ends_at is None
    else:
        assert ends_at is not None
        assert abs(ends_at - before - expected) < timedelta(minutes=1)
    assert dies_at == (ends_at if dies else None)


@pytest.mark.parametrize(
    ("changes", "dies"),
    [
        ({"refreshable": False, "rotates": True}, "expires_at"),
        ({"rotates": False, "refresh_expires_at": now() + DAY}, "refresh_expires_at"),
        ({"rotates": True, "refresh_expires_at": now() + DAY}, None),
        ({"rotates": False}, None),
    ],
)
def test_an_import_knows_the_end_of_what_no_refresh_will_move(
    bench: Bench, changes: dict[str, Any], dies: str | None
) -> None:
    connection_id = bench.new(**changes)

    expected = None if dies is None else bench.column(connection_id, dies)
    assert found(bench, connection_id)[1] == expected


def test_an_import_may_say_when_the_user_consented(bench: Bench) -> None:
    """A grant's whole life counts from there."""
    consented = now() - 300 * DAY

    connection_id = bench.new(connected_at=consented)

    assert bench.value("SELECT connected_at FROM connections WHERE id = :id", id=connection_id) == consented


def test_the_four_looks_find_what_may_die_and_nothing_else(bench: Bench) -> None:
    """Ends that stay, grants that began long ago, those that fail, and those that nobody refreshes; not the
    healthy, and not the dead."""
    names = ("fine", "dies", "later", "over", "old", "failing", "overdue", "dead", "other")
    ids = {name: bench.new(name) for name in names}
    bench.set(ids["dies"], "dies_at = now() + interval '6 days'")
    bench.set(ids["later"], "dies_at = now() + interval '8 days'")
    bench.set(ids["over"], "dies_at = now() - interval '40 days'")
    with bench.engine.begin() as connection:
        connection.execute(
            text("UPDATE connections SET connected_at = now() - interval '360 days' WHERE id = ANY(:ids)"),
            {"ids": [ids["old"], ids["dead"]]},
        )
        connection.execute(
            text("UPDATE tokens SET refresh_due_at = now() WHERE connection_id <> :id"),
            {"id": ids["overdue"]},
        )
    bench.set(ids["failing"], "failures = 1")
    bench.set(ids["overdue"], "refresh_due_at = now() - interval '2 hours'")
    bench.set(
        ids["dead"], "status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL, failures = 3"
    )
    bench.set(ids["other"], "provider_id = 'other', dies_at = now()")
    store = LifeStore(bench.engine)

    candidates = store.candidates([Wanted("acme", 365 * DAY)], ahead=7 * DAY)
    without = store.candidates([Wanted("acme"), Wanted("other")], ahead=7 * DAY)

    assert set(candidates) == {ids[name] for name in ("dies", "old", "failing", "overdue")}
    assert set(without) == {ids[name] for name in ("dies", "failing", "overdue", "other")}
    lives = store.lives([*ids.values()])
    assert {lived.ref.connection_id for _, lived in lives} == set(ids.values()) - {ids["dead"]}


def test_grants_that_began_long_before_their_whole_life_are_not_looked_through(bench: Bench) -> None:
    """Most of them are dead, and would be stepped over at each look, more every month."""
    lately, long_ago = bench.new("lately"), bench.new("long ago")
    with bench.engine.begin() as connection:
        for days, connection_id in ((366, lately), (368, long_ago)):
            connection.execute(
                text("UPDATE connections SET connected_at = now() - :ago WHERE id = :id"),
                {"ago": timedelta(days=days), "id": connection_id},
            )

    assert LifeStore(bench.engine).candidates([Wanted("acme", 365 * DAY)], ahead=7 * DAY) == [lately]


def test_a_landing_of_a_healthy_token_writes_into_no_index_of_the_forecast(bench: Bench) -> None:
    """Both are partial, and hold nothing of a provider whose refreshes move every end."""
    for number in range(3):
        landed(bench, DAY, DAY + HOUR, str(number))
    with bench.engine.begin() as connection:
        sizes = connection.execute(
            text(
                "SELECT relname, pg_relation_size(oid) FROM pg_class"
                " WHERE relname IN ('ix_tokens_dies_at', 'ix_tokens_failing') ORDER BY 1"
            )
        ).all()

    # An empty btree is its first page alone.
    assert [tuple(row) for row in sizes] == [("ix_tokens_dies_at", 8192), ("ix_tokens_failing", 8192)]
