"""A database that is put back to an older state, and what each process can know of it."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from domain.asks import Outcome
from domain.errors import ConfigurationError
from domain.restore import Present
from domain.token import Status
from services.restore.marks import FILE, MarkFile, MarkInRedis
from services.wiring import Services
from storage import restoring
from tests.services.restoring import (
    another_process,
    copied_database,
    forget_file,
    forget_redis,
    keep_rows,
    put_rows_back,
)
from tests.services.world import DEMANDED, Connected, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


def withheld(world: World, connected: Connected, services: Services) -> bool:
    """Ask for a refresh that is due; says whether the guard has answered, or else it was presented."""
    before = world.presented(connected)
    result = world.refresh(connected, services=services)
    if result.code == "restore_guard":
        assert (result.outcome, world.presented(connected)) == (Outcome.DEFERRED, before)
        return True
    assert world.presented(connected) == before + 1
    return False


def grown_old(world: World) -> tuple[Connected, Services]:
    """A strict connection that was refreshed after its rows were kept, and the process that did it."""
    worker = another_process(world)
    connected = world.connect("strict")
    keep_rows(world)
    assert not withheld(world, connected, worker)
    line = world.rows("SELECT max(id) AS id FROM activity")[0]["id"]
    eventually(lambda: [mark.line >= line for mark in worker.outside.read().values()] == [True, True])
    return connected, worker


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


def test_a_spoilt_mark_says_nothing_and_is_written_anew(world: World) -> None:
    """The other place still speaks; the next mark replaces what cannot be read."""
    connected, worker = grown_old(world)
    file = world.data_dir / FILE
    worker.watch.stop()
    file.write_text("not a mark")

    assert not withheld(world, world.connect("strict"), another_process(world))
    assert MarkFile(file).read() is not None
    put_rows_back(world)
    file.write_text("not a mark")
    assert withheld(world, connected, world.wire())


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


def test_an_empty_database_is_taken(world: World) -> None:
    """Marks of its predecessor are left behind by its own count, and nothing is told."""
    _, worker = grown_old(world)
    worker.watch.stop()
    for table in ("connections", "activity", "deployment"):
        world.rows(f"DELETE FROM {table} RETURNING 1")  # noqa: S608 - tests' own words
    services = another_process(world)
    connected = world.connect("strict")

    assert not withheld(world, connected, services)
    assert not withheld(world, world.connect("strict"), world.wire())
    assert world.alerts() == []


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


def test_marks_are_merged_by_their_maximum(world: World) -> None:
    """A process that is behind in its looking lowers neither place, and nobody else can read the file."""
    _, worker = grown_old(world)
    worker.watch.stop()
    file, shared = MarkFile(world.data_dir / FILE), MarkInRedis(SecretStr(world.redis_url))
    for place in (file, shared):
        mark = place.read()
        assert mark is not None
        place.write(replace(mark, line=mark.line - 1, lsn=0, at=mark.at - timedelta(hours=1)))
        assert place.read() == mark
        place.write(replace(mark, line=mark.line + 7))
        assert place.read() == replace(mark, line=mark.line + 7)
    shared.close()
    mode = (world.data_dir / FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


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


def test_a_redis_that_is_away_still_says_what_it_said(world: World, closed_url: str) -> None:
    """It is left alone for a while, and its last word counts; a process that never heard it goes without."""
    _, worker = grown_old(world)
    worker.watch.stop()
    outside, mark = worker.outside, worker.guard.own
    assert mark is not None
    known = outside.read()
    nowhere = closed_url.replace("http", "redis")
    outside._redis._client.close()
    outside._redis._client = Redis.from_url(nowhere)

    assert len(known) == 2
    assert outside.read() == known
    assert not outside.write(mark)
    assert list(world.wire(redis_url=nowhere).outside.read()) == [str(world.data_dir / FILE)]
