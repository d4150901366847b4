"""Proof of life, with real processes that are killed and frozen."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from storage.staging.life import LifeLock, anybody_holding, dead_owners
from tests.support.waiting import eventually

_PROCESS = """\
import sys
from pathlib import Path
from storage.staging.life import LifeLock

lock = LifeLock(Path(sys.argv[1]), sys.argv[2])
lock.take()
print("taken", flush=True)
for line in sys.stdin:
    match line.strip():
        case "hold":
            lock.hold(answers=True)
        case "let go":
            lock.hold(answers=False)
        case "release":
            lock.release()
    print(line, end="", flush=True)
"""


class Process:
    """A process that shows life in a folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(folder), owner],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._said() == "taken"

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        assert self._said() == words

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def living(folder: Path, owner: str = "owner") -> Iterator[Process]:
    process = Process(folder, owner)
    try:
        yield process
    finally:
        process.kill()


def found(folder: Path) -> list[str]:
    with dead_owners(folder) as dead:
        return sorted(dead)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_process_is_found_dead(tmp_path: Path) -> None:
    """After kill -9 its owner is named, with the files that whoever takes over removes; nobody else is."""
    with living(tmp_path, "other"), living(tmp_path, "killed") as process:
        assert found(tmp_path) == []
        process.kill()

        with dead_owners(tmp_path) as dead:
            assert list(dead) == ["killed"]
            for path in dead["killed"]:
                path.unlink()
        assert found(tmp_path) == []
        assert len(names(tmp_path)) == 2


def test_a_frozen_process_is_not_dead(tmp_path: Path) -> None:
    """SIGSTOP lets go of nothing."""
    with living(tmp_path) as process:
        process.process.send_signal(signal.SIGSTOP)
        frozen = psutil.Process(process.process.pid)
        eventually(lambda: frozen.status() == psutil.STATUS_STOPPED, what="it is frozen")

        assert found(tmp_path) == []
        process.process.send_signal(signal.SIGCONT)
        process.tell("anything")
        assert found(tmp_path) == []


def test_a_process_knows_itself_alive(tmp_path: Path) -> None:
    """The sweeper of a process that looks for the dead does not find itself."""
    lock = LifeLock(tmp_path, "me")
    lock.take()
    try:
        assert found(tmp_path) == []
    finally:
        lock.release()
    assert names(tmp_path) == []


def test_two_sweepers_do_not_find_the_same(tmp_path: Path) -> None:
    """While one looks at what a dead process left, another does not; afterwards it does."""
    with living(tmp_path) as process:
        process.kill()

    with dead_owners(tmp_path) as first:
        assert list(first) == ["owner"]
        assert found(tmp_path) == []
    assert found(tmp_path) == ["owner"]


def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    """Who ends in good order takes both files along."""
    with living(tmp_path) as process:
        assert len(names(tmp_path)) == 2
        process.tell("release")
        assert names(tmp_path) == []
        process.tell("release")
    assert found(tmp_path) == []


def test_what_a_start_left_half_done_is_nobody(tmp_path: Path) -> None:
    """A process that was killed before its lock had a name is not taken for a dead one with answers."""
    (tmp_path / "abcd.alive.part").write_text("owner")

    assert found(tmp_path) == []


def test_a_start_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    """The files of a dead process of the same name are no obstacle, and the new one is alive."""
    with living(tmp_path) as process:
        process.kill()
    with living(tmp_path):
        assert found(tmp_path) == []


@pytest.mark.parametrize("end", ["let go", "kill"])
def test_memory_that_alone_holds_answers_is_seen(tmp_path: Path, end: str) -> None:
    """It is seen while it lasts, by everybody of the folder, and ends with its process at the latest."""
    with living(tmp_path, "other"), living(tmp_path) as process:
        assert not anybody_holding(tmp_path)
        process.tell("hold")
        assert anybody_holding(tmp_path)
        if end == "kill":
            process.kill()
        else:
            process.tell(end)

        assert not anybody_holding(tmp_path)


def test_looking_disturbs_nobody(tmp_path: Path) -> None:
    """Who looks for the dead or for holders holds no lock of the living afterwards."""
    with living(tmp_path) as process:
        for _ in range(20):
            found(tmp_path)
            anybody_holding(tmp_path)
            process.tell("hold")
            assert anybody_holding(tmp_path)
            process.tell("let go")
        process.tell("release")
        assert names(tmp_path) == []


def test_nobody_is_found_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A spool that was never prepared has no dead."""
    assert found(tmp_path / "missing") == []
    assert not anybody_holding(tmp_path / "missing")


def test_a_full_disk_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is refused leaves no file behind, however often it is tried, and the next one succeeds."""

    def full(descriptor: int, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), descriptor)

    lock = LifeLock(tmp_path, "here:1:bulk")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            lock.take()
        assert list(tmp_path.iterdir()) == []

    lock.take()
    assert len(list(tmp_path.iterdir())) == 2
    lock.release()
    assert list(tmp_path.iterdir()) == []
