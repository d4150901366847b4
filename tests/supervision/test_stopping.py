"""How a supervisor ends its processes."""

from __future__ import annotations

import contextlib
import os
import signal
from datetime import timedelta

import psutil

from tests.support.background import Background, shell
from tests.support.servers import read_logs
from tests.support.waiting import eventually
from workers.supervision.claim import ClaimedFolder
from workers.supervision.state import Happening, Status


def test_servers_of_others_stop_last_and_alone(claimed: ClaimedFolder) -> None:
    """Clients are asked together, last started first; a server is asked when they are gone."""
    trap = "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done"
    specs = [
        shell("postgres", trap, serves_others=True),
        shell("redis", trap, serves_others=True),
        shell("worker", trap),
        shell("beat", trap),
    ]
    with Background(specs, claimed) as background:
        background.wait_running("beat")

    ending = {Happening.STOPPING, Happening.STOPPED}
    told = [(event.happening, event.name) for event in background.events if event.happening in ending]
    assert told[:2] == [(Happening.STOPPING, "beat"), (Happening.STOPPING, "worker")]
    assert {name for _, name in told[2:4]} == {"beat", "worker"}
    assert told[4:] == [
        (Happening.STOPPING, "redis"),
        (Happening.STOPPED, "redis"),
        (Happening.STOPPING, "postgres"),
        (Happening.STOPPED, "postgres"),
    ]


def test_the_deaf_are_killed_when_their_grace_is_over(claimed: ClaimedFolder) -> None:
    """A process that ignores its stop signal is killed after its grace."""
    spec = shell(
        "deaf", "trap '' TERM; echo deaf now; while :; do sleep 0.05; done", stop_grace=timedelta(seconds=0.3)
    )
    with Background([spec], claimed) as background:
        eventually(lambda: "deaf now" in read_logs(claimed.path))

    assert background.order_of(Happening.KILLED) == ["deaf"]
    assert background.state("deaf").last_exit == -signal.SIGKILL


def test_a_second_request_hurries(claimed: ClaimedFolder) -> None:
    """Asked twice, the supervisor does not wait for a grace of ten minutes."""
    spec = shell(
        "deaf", "trap '' TERM; echo deaf now; while :; do sleep 0.05; done", stop_grace=timedelta(minutes=10)
    )
    with Background([spec], claimed) as background:
        eventually(lambda: "deaf now" in read_logs(claimed.path))
        background.supervisor.request_stop()
        eventually(lambda: background.state("deaf").status is Status.STOPPING)
        background.supervisor.request_stop()

        eventually(lambda: background.state("deaf").status is Status.STOPPED, seconds=30)


def test_what_would_be_lost_is_spared(claimed: ClaimedFolder) -> None:
    """Past its grace a process lives on while it is spared, and a second request ends that."""
    spec = shell(
        "deaf",
        "trap '' TERM; echo deaf now; while :; do sleep 0.05; done",
        stop_grace=timedelta(seconds=0.3),
        spared=lambda: True,
    )
    with Background([spec], claimed) as background:
        eventually(lambda: "deaf now" in read_logs(claimed.path))
        background.supervisor.request_stop()
        eventually(lambda: background.order_of(Happening.SPARED) == ["deaf"])
        assert background.state("deaf").status is Status.STOPPING

        background.supervisor.request_stop()

        eventually(lambda: background.state("deaf").status is Status.STOPPED, seconds=30)
    assert background.order_of(Happening.KILLED) == ["deaf"]


def test_grandchildren_do_not_outlive_their_parent(claimed: ClaimedFolder) -> None:
    """What a child started itself is gone when the child has died."""
    spec = shell("parent", "sleep 1000 & echo $!; wait")
    with Background([spec], claimed) as background:
        parent = background.wait_running("parent")
        log = claimed.logs / "parent.log"
        grandchild = int(eventually(lambda: log.read_text().strip()))
        os.kill(parent, signal.SIGKILL)

        eventually(lambda: not _lives(grandchild))


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
