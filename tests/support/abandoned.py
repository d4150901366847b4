"""A place for the suite's data folders, cleared of what a killed session left behind."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from workers.supervision.claim import ClaimedFolder, claim_folder
from workers.supervision.errors import AlreadyRunning
from workers.supervision.folders import own_folder
from workers.supervision.identity import identity_of, wait_for_end
from workers.supervision.record import stop_leftovers

PLACE = Path(tempfile.gettempdir()) / f"evergrant-tests-{os.geteuid()}"


@contextmanager
def session_folder() -> Iterator[ClaimedFolder]:
    """Hold a new folder for this session; those of dead sessions are stopped and removed first."""
    own_folder(PLACE)
    # The claim tells a living session from a dead one, so nobody may clear between making and claiming.
    gate = os.open(PLACE / ".gate", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(gate, fcntl.LOCK_EX)
    for abandoned in PLACE.glob("session-*"):
        try:
            with claim_folder(abandoned, leftover_grace=timedelta(0)):
                for nested in (abandoned / "folders").glob("*"):
                    remove_data_folder(nested)
                shutil.rmtree(abandoned)
        except AlreadyRunning:
            continue
    path = PLACE / f"session-{os.getpid()}-{secrets.token_hex(3)}"
    with claim_folder(path) as claimed:
        os.close(gate)
        try:
            yield claimed
        finally:
            # Whatever a fixture failed to stop.
            stop_leftovers(claimed.run, timedelta(0))
            shutil.rmtree(path)


def remove_data_folder(path: Path) -> None:
    """End whatever still runs on a data folder of a test, and remove the folder."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # A test may have spoiled them on purpose.
    path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    for _ in range(2):
        try:
            with claim_folder(path, leftover_grace=timedelta(0)):
                shutil.rmtree(path)
                return
        except AlreadyRunning as running:
            # The pid is the lock's holder by its own word, written under the lock.
            if running.pid is None or (identity := identity_of(running.pid)) is None:
                continue
            os.kill(running.pid, signal.SIGKILL)
            wait_for_end(running.pid, identity, 10)
    raise AssertionError(f"{path} is still in use")
