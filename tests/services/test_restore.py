"""A database that is put back to an older state, and what each process can know of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from domain.restore import Present
from domain.token import Status
from storage import restoring
from tests.services.restoring import (
    another_process,
    copied_database,
    forget_file,
    forget_redis,
    grown_old,
    keep_rows,
    put_rows_back,
    withheld,
)
from tests.services.world import DEMANDED, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def test_a_database_overwritten_in_place_is_noticed(world: World) -> None:
    """No connection is cut; the look of the next second finds lines missing, and tells it once."""
    connected, worker = grown_old(world)
    put_rows_back(world)
    eventually(lambda: worker.guard.closed)

    assert withheld(world, connected, worker)
    assert [(row["cause"], row["severity"], row["count"]) for row in world.alerts()] == [
        ("deployment:restored", "critical", 1)
    ]
    worker.guard.look()
    another_process(world).guard.look()
    assert world.events() == [("opened", "deployment:restored")]


@pytest.mark.parametrize(
    ("file", "shared", "expected"),
    [
        (True, True, True),
        (True, False, True),
        (False, True, True),
        # Same server, same timeline, same database, and nothing outside that remembers: this is not noticed.
        (False, False, False),
    ],
)
def test_a_new_process_knows_what_the_marks_know(
    world: World, file: bool, shared: bool, expected: bool
) -> None:
    """One of the two places is enough, before its first claim; without any, only the identity is left."""
    connected, worker = grown_old(world)
    worker.watch.stop()
    put_rows_back(world)
    if not file:
        forget_file(world.data_dir)
    if not shared:
        forget_redis(world)

    assert withheld(world, connected, world.wire()) is expected


def test_a_copied_database_is_another_one(world: World, tmp_path: Path) -> None:
    """Without any mark outside: the copy names a database that it is not."""
    connected, worker = grown_old(world)
    worker.watch.stop()
    forget_redis(world)
    with copied_database(world) as url:
        services = world.wire(database_url=url, data_dir=tmp_path / "elsewhere")
        world.database_url, original = url, world.database_url
        world.update("refresh_due_at = now()", connected)
        assert withheld(world, connected, services)

        findings = services.after_restore.look()
        assert findings.signs == ("other_identity",)
        services.after_restore.accept(findings, services.after_restore.fates(findings))
        assert not services.after_restore.look().restored
        services.engine.dispose()
        world.database_url = original


def test_all_machines_agree(world: World, tmp_path: Path) -> None:
    """A machine that has nothing to compare with hears it from the database within the second."""
    connected, worker = grown_old(world)
    forget_redis(world)
    ignorant = world.wire(data_dir=tmp_path / "elsewhere")
    ignorant.guard.look()
    worker.watch.stop()
    forget_redis(world)
    put_rows_back(world)
    assert withheld(world, connected, world.wire())

    eventually(lambda: ignorant.guard.withholds(ignorant.desk.catalogue.get("strict").facts))
    assert withheld(world, connected, ignorant)


def test_a_new_database_is_taken(world: World) -> None:
    """Marks of its predecessor are left behind by its own count, and nothing is told."""
    _, worker = grown_old(world)
    worker.watch.stop()
    world.rows("DELETE FROM connections RETURNING 1")
    world.rows("DELETE FROM activity RETURNING 1")
    world.rows("UPDATE deployment SET identity = NULL RETURNING 1")
    services = another_process(world)
    connected = world.connect("strict")

    assert not withheld(world, connected, services)
    assert not withheld(world, world.connect("strict"), world.wire())
    assert world.alerts() == []


@pytest.mark.parametrize("row", ["DELETE FROM deployment", "UPDATE deployment SET identity = '1/1/1'"])
def test_a_restore_under_way_is_not_taken_for_a_new_database(world: World, row: str) -> None:
    """Its row comes before its tokens, or after: empty in between, it is neither accepted nor told."""
    worker = another_process(world)
    connected = world.connect("strict")
    keep_rows(world)
    world.rows("DELETE FROM connections RETURNING 1")
    world.rows(f"{row} RETURNING 1")
    eventually(lambda: worker.guard.closed)
    worker.guard.look()
    assert world.alerts() == []

    for table in ("connections", "tokens"):
        world.rows(f"INSERT INTO {table} SELECT * FROM kept_{table} RETURNING 1")  # noqa: S608 - tests' own words
    assert withheld(world, connected, worker)
    eventually(lambda: [alert["cause"] for alert in world.alerts()] == ["deployment:restored"])


def test_what_was_not_due_stays_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what may have been refreshed by then is put in doubt, page by page; what is safe is left alone."""
    monkeypatch.setattr(restoring, "_PAGE", 1)
    worker = another_process(world)
    due, early, half, plain, dead = (
        world.connect(name) for name in ("strict", "strict", "strict", "gsc", "strict")
    )
    world.update("status = 'needs_reauth', refresh_due_at = NULL, check_due_at = NULL", dead)
    world.update("refresh_due_at = now() + interval '50 minutes', issued_at = now(),"
                 " expires_at = now() + interval '1 hour'", early)  # fmt: skip
    world.update("refresh_due_at = now() + interval '50 minutes', issued_at = now() - interval '40 minutes',"
                 " expires_at = now() + interval '20 minutes'", half)  # fmt: skip
    keep_rows(world)
    assert not withheld(world, world.connect("strict"), worker)
    eventually(lambda: len(worker.outside.read()) == 2)
    worker.watch.stop()
    put_rows_back(world)
    services = world.wire()
    findings = services.after_restore.look()
    fates = {fate.provider_id: fate for fate in services.after_restore.fates(findings)}

    assert (fates["strict"].living, fates["strict"].doubtful) == (3, 2)
    assert (fates["gsc"].living, fates["gsc"].doubtful) == (1, 0)
    assert services.after_restore.accept(findings, list(fates.values())) == {"strict": 2}
    assert [world.row(item)["status"] for item in (due, early, half, plain, dead)] == [
        Status.IN_DOUBT, Status.ACTIVE, Status.IN_DOUBT, Status.ACTIVE, Status.NEEDS_REAUTH,
    ]  # fmt: skip
    # Half an hour of life is left: the attempt is made as late as that allows.
    row = world.row(half)
    assert timedelta(seconds=20) < row["expires_at"] - row["refresh_due_at"] < timedelta(seconds=30)
    assert world.refresh(half, DEMANDED, services=services).code == "in_doubt"


def test_a_second_restore_is_noticed_again(world: World) -> None:
    """After an answer the database counts on beyond every mark, so the next older copy is behind as well."""
    connected, worker = grown_old(world)
    for _ in range(2):
        put_rows_back(world)
        eventually(lambda: worker.guard.closed)
        findings = worker.after_restore.look()
        assert worker.after_restore.accept(findings, worker.after_restore.fates(findings)) == {"strict": 1}
        eventually(lambda: not worker.guard.closed)
        assert world.alerts() == []
    # And one to a state that had been accepted.
    keep_rows(world)
    other = world.connect("strict")
    assert not withheld(world, other, worker)
    eventually(lambda: len(worker.outside.read()) == 2)
    worker.watch.stop()
    put_rows_back(world)
    assert world.wire().guard.withholds(worker.desk.catalogue.get("strict").facts)
    assert world.row(connected)["status"] == Status.IN_DOUBT


def test_another_database_than_the_one_that_was_shown_is_not_accepted(world: World) -> None:
    """What an operator agreed to is done to what he was shown, or not at all."""
    connected, worker = grown_old(world)
    put_rows_back(world)
    eventually(lambda: worker.guard.closed)
    after = worker.after_restore
    findings = after.look()
    other = replace(findings.present.identity, timeline=9)

    with pytest.raises(ConfigurationError, match="nothing was changed"):
        after.accept(
            replace(findings, present=replace(findings.present, identity=other)), after.fates(findings)
        )
    assert worker.guard.closed
    assert world.row(connected)["status"] == Status.ACTIVE


def test_a_look_that_a_new_connection_overtakes_is_made_again(world: World) -> None:
    """What the look saw was another server's; it opens nothing that the connection has closed."""
    guard = world.services.guard
    guard.look()
    store, looks = guard._store, list[Present]()
    observe = store.observe

    def overtaken() -> Present:
        present = observe()
        looks.append(present)
        if len(looks) == 1:
            guard._new_connection(lambda: replace(present, guarded_since=present.now))
            assert guard.closed
        return present

    store.observe = overtaken  # type: ignore[method-assign]  # the race is made at the narrowest place there is
    guard.look()

    assert len(looks) == 2
