"""Postgres' files are put back to an older copy, under processes that go on working."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from domain.asks import Outcome
from domain.errors import ServiceUnavailable
from domain.token import Status
from services.restore.findings import Findings
from services.scheduling import Work
from services.wiring import Services
from simulator.process import SimulatorProcess
from storage.migrate import upgrade
from tests.services.restoring import another_process, own_postgres
from tests.services.test_scheduling import tick
from tests.services.world import DEMANDED, FORCED, SCHEDULED, Connected, World
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder

pytestmark = [pytest.mark.servers, pytest.mark.acceptance]


def refresh_all(world: World, many: list[Connected]) -> None:
    world.pass_time(timedelta(hours=1), *many)
    world.update("refresh_due_at = now()", *many)
    for item in many:
        assert world.refresh(item).outcome is Outcome.REFRESHED


def test_an_older_copy_presents_nothing_that_rotates(
    simulator: SimulatorProcess, redis_url: str, data_folder: DataFolder, tmp_path: Path
) -> None:
    """From the very first claim on, in every process, until somebody has answered; then once at most."""
    with own_postgres(data_folder) as server:
        upgrade(server.url)
        world = World(simulator, server.url, redis_url, tmp_path)
        try:
            strict, window, plain = (world.connect_many(name, 2) for name in ("strict", "window", "gsc"))
            many = strict + window + plain
            refresh_all(world, many)
            server.back_up()
            here = another_process(world)
            elsewhere = another_process(world, data_dir=tmp_path / "elsewhere")
            # Its last look stays fresh for ever: only the connection of its claim can tell it.
            late = world.wire(data_dir=tmp_path / "late")
            late.guard._clock = lambda: 0.0
            late.guard.look()
            # Far ahead, so that the database that is put back stays behind these positions for long.
            world.rows("SELECT pg_logical_emit_message(false, 'far', repeat('x', 50000000)) AS at")
            refresh_all(world, many)
            world.update("refresh_due_at = now()", *many)
            lines = world.rows("SELECT max(id) AS id FROM activity")[0]["id"]
            eventually(lambda: all(_marked(services, lines) for services in (here, elsewhere)))

            server.put_back()
            world.pass_time(timedelta(minutes=5), *many)
            # Well before anybody found out: what is due after that has not been refreshed.
            world.update("refresh_due_at = now() - interval '1 minute'", *many)
            before = {item.id: world.presented(item) for item in many}
            for item in strict + window:
                result = world.refresh(item, services=late)
                assert (result.outcome, result.code) == (Outcome.DEFERRED, "restore_guard")
            eventually(lambda: here.guard.closed and elsewhere.guard.closed)

            for services in (here, elsewhere, late):
                for ask in (SCHEDULED, DEMANDED, FORCED):
                    for item in strict + window:
                        result = world.refresh(item, ask, services=services)
                        assert (result.outcome, result.code) == (Outcome.DEFERRED, "restore_guard")
            assert set(tick(world, services=elsewhere).ids) == {item.id for item in plain}
            for item in plain:
                assert world.refresh(item, services=here).outcome is Outcome.REFRESHED
            assert [world.presented(item) - before[item.id] for item in many] == [0, 0, 0, 0, 1, 1]
            assert len(tick(world, Work.HEALTH, services=here).ids) == len(many)
            assert [(row["cause"], row["count"]) for row in world.alerts()] == [("deployment:restored", 1)]
            assert world.events() == [("opened", "deployment:restored")]

            findings = here.after_restore.look()
            assert "lines_missing" in findings.signs
            assert findings.lines_missing == len(many)
            _settle(world, here, findings)
            eventually(lambda: not here.guard.closed and not elsewhere.guard.closed)
            _tried_once_each(world, here, strict, window)
        finally:
            world.close()


def _marked(services: Services, line: int) -> bool:
    """Say whether the process has seen the line, and both places have been told."""
    marks = services.outside.read()
    return len(marks) == 2 and all(mark.line >= line for mark in marks.values())


def _settle(world: World, services: Services, findings: Findings) -> None:
    fates = services.after_restore.fates(findings)
    assert {(fate.provider_id, fate.living, fate.doubtful) for fate in fates} == {
        ("strict", 2, 2),
        ("window", 2, 2),
        ("gsc", 2, 0),
    }
    assert services.after_restore.accept(findings, fates) == {"strict": 2, "window": 2}
    assert world.alerts() == []
    assert not services.after_restore.look().restored


def _tried_once_each(
    world: World, services: Services, strict: list[Connected], window: list[Connected]
) -> None:
    both = strict + window
    assert {world.row(item)["status"] for item in both} == {Status.IN_DOUBT}
    assert {world.kinds(item)[-1] for item in both} == {"restored"}
    before = {item.id: world.presented(item) for item in both}
    world.pass_time(timedelta(seconds=50), *both)

    # The window is still open, counted from the end of the backup's record.
    for item in window:
        assert world.refresh(item, services=services).outcome is Outcome.REFRESHED
        assert world.alive(item)
    # A strict one waits for as long as its access token serves.
    for item in strict:
        assert world.refresh(item, services=services).outcome is Outcome.DEFERRED
    world.pass_time(timedelta(hours=2), *strict)
    for item in strict:
        result = world.refresh(item, services=services)
        assert (result.outcome, result.code) == (Outcome.NEEDS_REAUTH, "rotation_probably_lost")
        assert world.refresh(item, FORCED, services=services).outcome is Outcome.NEEDS_REAUTH

    assert {world.presented(item) - before[item.id] for item in both} == {1}
    alerts = world.alerts()
    assert [row["kind"] for row in alerts] == ["needs_reauth"] * len(strict)
    assert all("restored from an older backup" in row["help"] for row in alerts)


def test_a_promoted_standby_is_another_database(
    simulator: SimulatorProcess, redis_url: str, data_folder: DataFolder, tmp_path: Path
) -> None:
    """As a standby it is as good as away; once promoted its timeline tells, although nothing is missing."""
    with own_postgres(data_folder) as server:
        upgrade(server.url)
        world = World(simulator, server.url, redis_url, tmp_path)
        try:
            connected, plain = world.connect("strict"), world.connect("gsc")
            worker = another_process(world)
            server.become_standby()
            with pytest.raises(ServiceUnavailable):
                world.refresh(connected, services=worker)
            server.promote()
            eventually(lambda: not world.rows("SELECT pg_is_in_recovery() AS standby")[0]["standby"])

            assert world.refresh(connected, services=worker).code == "restore_guard"
            assert world.refresh(plain, services=worker).outcome is Outcome.REFRESHED
            findings = worker.after_restore.look()
            assert findings.signs == ("other_identity",)
            assert findings.present.identity.timeline == 2
            assert findings.lines_missing == 0
            worker.after_restore.accept(findings, worker.after_restore.fates(findings))
            eventually(lambda: not worker.guard.closed)
            assert world.presented(connected) == 0
        finally:
            world.close()
