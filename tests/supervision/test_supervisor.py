"""How a supervisor starts its processes and keeps them running."""

from __future__ import annotations

import os
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.background import ENV, FOREVER, Background, shell
from tests.support.waiting import eventually
from workers.supervision import managed
from workers.supervision.claim import ClaimedFolder
from workers.supervision.errors import CannotLaunch, NeverReady, PortInUse
from workers.supervision.managed import pause_before_restart
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import Happening, ProcessState, Status


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (1000, 30)])
def test_pauses_double_up_to_half_a_minute(deaths: int, seconds: float) -> None:
    """The pause before a restart is 0.5 s, doubled with each death in a row, and never above 30 s."""
    assert pause_before_restart(deaths) == timedelta(seconds=seconds)


def test_each_is_ready_before_the_next_starts(claimed: ClaimedFolder) -> None:
    """A process with a probe holds back the next one until the probe says yes."""
    open_gate = claimed.path / "open"
    first = shell("first", "exec sleep 1000", ready=open_gate.exists)
    second = shell("second", "exec sleep 1000")
    with Background([first, second], claimed) as background:
        eventually(lambda: background.state("first").status is Status.STARTING)
        assert background.state("second").status is Status.WAITING

        open_gate.touch()

        background.wait_running("second")
        assert background.supervisor.all_ready
        assert [(event.name, event.happening) for event in background.events] == [
            ("first", Happening.STARTED),
            ("first", Happening.READY),
            ("second", Happening.STARTED),
            ("second", Happening.READY),
        ]


def test_a_step_ends_before_the_next_starts(claimed: ClaimedFolder) -> None:
    """What follows a step starts after the step has ended with exit code 0."""
    done = claimed.path / "done"
    step = shell("step", f"sleep 0.3; touch {done}", restart=False)
    after = shell("after", f"test -e {done} && exec sleep 1000")
    with Background([step, after], claimed) as background:
        background.wait_running("after")

        assert background.state("step").status is Status.DONE
    assert background.order_of(Happening.DIED) == []


def test_a_failed_step_gives_up_the_start(claimed: ClaimedFolder) -> None:
    """A step that fails ends the start: the error names it, its last words and its log; nothing is left."""
    server = shell("server", "exec sleep 1000", serves_others=True)
    with Background(
        [server, shell("step", "echo no such table; exit 3", restart=False)], claimed
    ) as background:
        eventually(lambda: background.error is not None)

    assert isinstance(background.error, NeverReady)
    for words in ("step", "exit code 3", "no such table", str(claimed.logs / "step.log")):
        assert words in str(background.error)
    assert background.state("server").status is Status.STOPPED


def test_the_dead_are_started_again(claimed: ClaimedFolder) -> None:
    """A process killed from outside runs again under a new number, and the restart is counted."""
    with Background([ProcessSpec(name="one", argv=FOREVER, env=ENV)], claimed) as background:
        first = background.wait_running("one")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: background.state("one").restarts == 1)
        second = background.wait_running("one")

    assert second != first
    assert background.state("one").last_exit == -signal.SIGTERM
    died = next(event for event in background.events if event.happening is Happening.DIED)
    assert died.pid == first
    assert "SIGKILL" in died.detail


def test_a_life_of_a_minute_forgives_former_deaths(
    claimed: ClaimedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that lived long enough is restarted after the shortest pause again."""
    monkeypatch.setattr(managed, "STEADY_AFTER", timedelta(seconds=0.3))
    with Background([ProcessSpec(name="one", argv=FOREVER, env=ENV)], claimed) as background:
        for restarts in range(3):
            eventually(lambda wanted=restarts: background.state("one").restarts == wanted)  # type: ignore[misc]  # binds the loop's value
            pid = background.wait_running("one")
            since = background.state("one").since
            eventually(lambda began=since: _older_than(began, 0.6))  # type: ignore[misc]  # binds the loop's value
            os.kill(pid, signal.SIGKILL)
            eventually(lambda dead=pid: background.state("one").pid != dead)  # type: ignore[misc]  # binds the loop's value

    pauses = [event.detail for event in background.events if event.happening is Happening.DIED]
    assert all("in 0.5 s" in detail for detail in pauses)
    assert len(pauses) == 3


def _older_than(moment: datetime, seconds: float) -> bool:
    return datetime.now(UTC) - moment > timedelta(seconds=seconds)


def test_a_restart_that_is_never_ready_is_killed_and_tried_again(claimed: ClaimedFolder) -> None:
    """A restarted process whose probe stays silent is killed after `ready_timeout` and started again."""
    healthy = claimed.path / "healthy"
    healthy.touch()
    spec = shell("one", "exec sleep 1000", ready=healthy.exists, ready_timeout=timedelta(seconds=0.4))
    with Background([spec], claimed) as background:
        first = background.wait_running("one")
        healthy.unlink()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: Happening.NOT_READY in [event.happening for event in background.events])
        healthy.touch()

        assert background.wait_running("one") != first


def test_a_first_start_that_never_gets_ready_names_the_log(claimed: ClaimedFolder) -> None:
    """Three deaths before the first readiness end the start with the log's place and its last line."""
    spec = shell("one", "echo bad setting; exit 7", ready=lambda: False)
    with Background([spec], claimed) as background:
        eventually(lambda: background.error is not None)

    assert isinstance(background.error, NeverReady)
    for words in ("one", "exit code 7", "bad setting", str(claimed.logs / "one.log")):
        assert words in str(background.error)


def test_silence_at_the_first_start_stops_everything(claimed: ClaimedFolder) -> None:
    """A probe that never says yes ends the start after `ready_timeout`, and what ran before is stopped."""
    specs = [
        ProcessSpec(name="before", argv=FOREVER, env=ENV),
        shell("silent", "exec sleep 1000", ready=lambda: False, ready_timeout=timedelta(seconds=0.3)),
    ]
    with Background(specs, claimed) as background:
        eventually(lambda: background.error is not None)

    assert "not ready within 0.3 s" in str(background.error)
    assert {state.status for state in background.supervisor.states()} == {Status.STOPPED}


def test_a_missing_program_is_named(claimed: ClaimedFolder) -> None:
    """A program that does not exist ends the start with its name."""
    with Background([ProcessSpec(name="one", argv=["/no/such/program"], env=ENV)], claimed) as background:
        eventually(lambda: background.error is not None)

    assert isinstance(background.error, CannotLaunch)
    assert "/no/such/program" in str(background.error)


def test_a_strangers_port_is_named(claimed: ClaimedFolder) -> None:
    """A port that somebody else listens on ends the start with the port, who wanted it, and the mend."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        spec = ProcessSpec(name="flower", argv=FOREVER, env=ENV, ports=(port,))
        with Background([spec], claimed) as background:
            eventually(lambda: background.error is not None)

    assert isinstance(background.error, PortInUse)
    assert f"port {port}" in str(background.error)
    assert "flower another port" in str(background.error)


def test_a_broken_display_changes_nothing(claimed: ClaimedFolder) -> None:
    """A tick that raises is reported once, is called on, and costs no process."""
    ticks = []

    def broken(states: tuple[ProcessState, ...]) -> None:
        ticks.append(states)
        raise RuntimeError("no terminal")

    background = Background([ProcessSpec(name="one", argv=FOREVER, env=ENV)], claimed)
    background.tick = broken
    with background:
        background.wait_running("one")
        seen = len(ticks)
        eventually(lambda: len(ticks) > seen + 3)

        assert background.state("one").restarts == 0
    failures = [event for event in background.events if event.happening is Happening.DISPLAY_FAILED]
    assert [event.detail for event in failures] == ["RuntimeError: no terminal"]
    assert background.error is None


def test_logs_are_private_and_bounded(claimed: ClaimedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew beyond its limit moves to `.1` while its process keeps writing; both are mode 0600."""
    monkeypatch.setattr("workers.supervision.supervisor._ROTATION_EVERY_SECONDS", 0.1)
    spec = shell("chatty", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done")
    log, older = claimed.logs / "chatty.log", claimed.logs / "chatty.log.1"
    with Background([spec], claimed, log_limit_bytes=400):
        eventually(older.exists)
        eventually(lambda: log.stat().st_size > 0)
        first_kept = _first_number(log)

    assert first_kept > 1
    assert [oct(path.stat().st_mode & 0o777) for path in (log, older)] == ["0o600", "0o600"]
    assert b"\0" not in log.read_bytes()


def _first_number(log: Path) -> int:
    lines = eventually(lambda: log.read_text().splitlines()[:1])
    return int(lines[0].split()[1])


def test_no_process_hides_a_secret_in_its_description() -> None:
    """A spec's `repr` shows nothing of the environment."""
    spec = ProcessSpec(name="one", argv=FOREVER, env={"EVERGRANT_KEYS": "k1:hush"})

    assert "hush" not in repr(spec)
