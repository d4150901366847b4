"""How a supervisor's process answers signals."""

from __future__ import annotations

import signal

import pytest

from tests.support.servers import read_logs
from tests.support.supervised import SupervisedRun
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.supervision.identity import identity_of

TELLS = "trap 'echo got INT' INT; trap 'echo got TERM; exit 0' TERM; echo up; while :; do sleep 0.05; done"
PROCESSES: list[dict[str, object]] = [
    {"name": "server", "argv": ["sh", "-c", TELLS], "serves_others": True},
    {"name": "worker", "argv": ["sh", "-c", TELLS]},
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(data_folder: DataFolder, number: signal.Signals) -> None:
    """One signal: exit code 0, everything stopped in the reverse order, no process and no note left."""
    with SupervisedRun(data_folder.path, processes=PROCESSES) as run:
        pids = run.wait_ready("server", "worker")
        eventually(lambda: read_logs(data_folder.path).count("up") == 2)
        code = run.end(number)

    assert code == 0
    assert run.order_of("stopped") == ["worker", "server"]
    assert [identity_of(pid) for pid in pids.values()] == [None, None]
    assert list(data_folder.run.glob("*.json")) == []


def test_ctrl_c_reaches_the_supervisor_alone(data_folder: DataFolder) -> None:
    """SIGINT to the whole group, as a terminal sends it, reaches children only as their own stop signal."""
    with SupervisedRun(data_folder.path, processes=PROCESSES) as run:
        run.wait_ready("server", "worker")
        eventually(lambda: read_logs(data_folder.path).count("up") == 2)
        code = run.end(signal.SIGINT, group=True)

    assert code == 0
    for name in ("server", "worker"):
        assert (data_folder.logs / f"{name}.log").read_text().split("\n") == ["up", "got TERM", ""]


def test_a_second_signal_hurries(data_folder: DataFolder) -> None:
    """A second Ctrl-C kills a process that would have had ten minutes."""
    deaf: dict[str, object] = {
        "name": "deaf",
        "argv": ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"],
        "stop_grace": 600,
    }
    with SupervisedRun(data_folder.path, processes=[deaf]) as run:
        (pid,) = run.wait_ready("deaf").values()
        eventually(lambda: "up" in read_logs(data_folder.path))
        run.process.send_signal(signal.SIGINT)
        run.wait_for("stopping", "deaf")
        code = run.end(signal.SIGINT)

    assert code == 0
    assert run.order_of("killed") == ["deaf"]
    assert identity_of(pid) is None


def test_a_signal_during_the_start_stops_what_runs_already(data_folder: DataFolder) -> None:
    """Asked to stop while the first process is not ready yet, it stops that one and starts no other."""
    waiting: dict[str, object] = {
        "name": "server",
        "argv": ["sleep", "1000"],
        "ready_file": str(data_folder.path / "never"),
    }
    with SupervisedRun(data_folder.path, processes=[waiting, PROCESSES[1]]) as run:
        pid = run.wait_for("started", "server")["pid"]
        code = run.end(signal.SIGTERM)

    assert code == 0
    assert run.order_of("started") == ["server"]
    assert identity_of(pid) is None
