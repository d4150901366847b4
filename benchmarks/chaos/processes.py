"""Our own processes on two machines: one under `evergrant up`, one where each is started by itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from benchmarks.chaos.record import Record
from workers.supervision.identity import is_alive

ROOT: Final = Path(__file__).resolve().parents[2]
EVERGRANT: Final = (sys.executable, "-m", "workers.cli")
#: A process that was asked to end may finish what it has begun: a deadline, and a held answer's next try.
GRACE_SECONDS: Final = 90.0


class Single:
    """A process that the harness starts, and starts again whenever it is gone.

    Attributes:
        sort: ``worker``, ``beat`` or ``supervisor``.
        skew: Seconds by which its wall clock is wrong.
    """

    def __init__(
        self, name: str, words: Sequence[str], environment: Mapping[str, str], log: Path, *,
        sort: str, skew: float = 0.0,
    ) -> None:  # fmt: skip
        self.name = name
        self.sort = sort
        self.skew = skew
        self.log = log
        self.starts = 0
        self._words = words
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._again_at = 0.0
        self._lock = threading.RLock()

    def use(self, **changed: str) -> None:
        """Change its environment, from its next start on."""
        self._environment.update(changed)

    def want(self) -> None:
        """Start it at the next look, and keep it running."""
        self._wanted = True

    def unwant(self) -> None:
        """Leave it as it is from now on."""
        self._wanted = False

    @property
    def pid(self) -> int | None:
        """Its process, None while there is none."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return None
            return self._process.pid

    def look(self) -> None:
        """Start it if it is wanted and gone, a moment after its death."""
        with self._lock:
            if not self._wanted or self.pid is not None:
                return
            if self._process is not None and self._again_at == 0.0:
                self._again_at = time.monotonic() + 0.5
            if time.monotonic() < self._again_at:
                return
            self._again_at = 0.0
            self.starts += 1
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*EVERGRANT, *self._words], env=self._environment, stdin=subprocess.DEVNULL,
                    stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip

    def end(self, record: Record, why: str) -> dict[str, object]:
        """Ask it to end and wait; it is killed, and that is told, if it does not within its grace."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return {"status": None}
            process.terminate()
        try:
            return {"status": process.wait(GRACE_SECONDS)}
        except subprocess.TimeoutExpired:
            record.kill(self.sort, self.name, why)
            kill_group(process.pid)
            return {"status": process.wait(), "did_not_end_within": GRACE_SECONDS}


def kill_group(pid: int) -> None:
    """End a process and its group at once; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class Keeper:
    """A thread that keeps what is wanted running, as an init system would."""

    def __init__(self, processes: Sequence[Single]) -> None:
        self._processes = list(processes)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for process in self._processes:
            process.unwant()

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            for process in self._processes:
                process.look()


class Supervised:
    """A process of the machine that `evergrant up` runs; found by the note in its run folder."""

    def __init__(self, name: str, data: Path, *, sort: str) -> None:
        self.name = f"a-{name}"
        self.sort = sort
        self.skew = 0.0
        self.log = data / "logs" / f"{name}.log"
        self._note = data / "run" / f"{name}.json"

    @property
    def pid(self) -> int | None:
        """Its process, None while there is none."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        pid = int(note["pid"])
        # By its identity: the number alone may be somebody else's by now.
        return pid if is_alive(pid, note["identity"]) else None


def families(pid: int) -> list[psutil.Process]:
    """Return a process and everything that descends from it."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_stopped(pid: int) -> bool:
    """Say whether SIGSTOP holds the process."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def age_of(pid: int) -> float:
    """Return for how many seconds the process has run; 0 where there is none."""
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
