"""Processes that a server left behind in its folder."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually
from workers.embedded import survivors

_STUBBORN = ["sh", "-c", "trap '' INT; echo deaf; exec sleep 300"]


def test_a_crowd_of_survivors_has_one_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All end, and a start does not wait a grace for each of those that do not listen."""
    grace = 1.0
    monkeypatch.setattr(survivors, "_GRACE_SECONDS", grace)
    crowd = [subprocess.Popen(_STUBBORN, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(10)]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        process.stdout.close()
    eventually(lambda: {psutil.Process(process.pid).name() for process in crowd} == {"sleep"})
    began = time.monotonic()

    survivors.stop_survivors(tmp_path, frozenset({"sleep"}), signal.SIGINT)

    # One for the oldest, which may be a postmaster, and one for all others.
    assert time.monotonic() - began < 6 * grace
    assert [process.wait() for process in crowd] == [-signal.SIGKILL] * 10
