"""One running child process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from workers.supervision.account import popen_account
from workers.supervision.claim import ClaimedFolder
from workers.supervision.errors import CannotLaunch
from workers.supervision.identity import identity_of
from workers.supervision.logs import open_log
from workers.supervision.record import ChildRecord
from workers.supervision.spec import ProcessSpec


class Child:
    """A started process of ours, in a session of its own, noted in the run folder until it is gone."""

    def __init__(self, process: subprocess.Popen[bytes], record: ChildRecord, run: Path) -> None:
        self._process = process
        self._record = record
        self._run = run
        self.pid = process.pid

    @classmethod
    def start(cls, spec: ProcessSpec, folder: ClaimedFolder, *, position: int = 0) -> Child:
        """Run the program; its output goes to `<folder>/logs/<name>.log`.

        Args:
            spec: What to run.
            folder: Whose child it is.
            position: Its place in the order of starting; leftovers are stopped in the reverse order.

        Raises:
            CannotLaunch: The program is missing or may not be run.
        """
        log = open_log(folder.logs / f"{spec.name}.log")
        try:
            process = subprocess.Popen(
                list(spec.argv),
                env=dict(spec.env),
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal signals its whole foreground group. In sessions of their own the
                # children hear only from us, so we decide about the order of stopping.
                start_new_session=True,
                umask=0o077,
                **popen_account(spec.account),
            )
        except OSError as error:
            raise CannotLaunch(
                f"{spec.name} cannot be started: {spec.argv[0]}: {error.strerror or error}"
            ) from error
        finally:
            os.close(log)
        record = ChildRecord(
            name=spec.name,
            position=position,
            pid=process.pid,
            # None only if it is dead already, and then there is nothing to find again.
            identity=identity_of(process.pid) or "",
            stop_signal=int(spec.stop_signal),
            stop_grace_seconds=spec.stop_grace.total_seconds(),
            serves_others=spec.serves_others,
        )
        record.write(folder.run)
        return cls(process, record, folder.run)

    def exit_code(self) -> int | None:
        """Give the exit code once the process is gone (negative: killed by that signal), None before.

        When it is found gone, whatever is left of its session's process group is killed with it.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        if _has_exited(self.pid):
            # Not reaped yet, so its number cannot belong to anybody else.
            self._kill_group()
            self._process.wait()
            self._record.remove(self._run)
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Signal the process itself; nothing happens when it is gone."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and its group at once; nothing happens when it is gone."""
        if self._process.returncode is None:
            self._kill_group()

    def stop(self) -> int:
        """Ask the process to end, kill it when its grace is over, and give its exit code."""
        self.send(signal.Signals(self._record.stop_signal))
        deadline = time.monotonic() + self._record.stop_grace_seconds
        while (code := self.exit_code()) is None:
            if time.monotonic() >= deadline:
                self.kill()
            time.sleep(0.02)
        return code

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _has_exited(pid: int) -> bool:
    """Look whether our child ended, without taking its exit status away."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return identity_of(pid) is None
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
