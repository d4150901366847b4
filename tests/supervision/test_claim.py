"""One supervisor per data folder, and what killed ones leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from domain.errors import ConfigurationError
from tests.support.supervised import SupervisedRun
from tests.support.waiting import eventually
from workers.embedded.layout import DataFolder
from workers.supervision.claim import claim_folder
from workers.supervision.errors import AlreadyRunning
from workers.supervision.identity import identity_of
from workers.supervision.record import ChildRecord

SLEEPERS: list[dict[str, object]] = [
    {"name": "server", "argv": ["sleep", "1000"], "serves_others": True},
    {"name": "worker", "argv": ["sh", "-c", "sleep 1000 & wait"]},
]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_second_start_is_refused_with_a_clear_word(data_folder: DataFolder) -> None:
    """The refusal names the folder, the holder's process id and the mend; the first one runs on."""
    with SupervisedRun(data_folder.path, processes=SLEEPERS) as first:
        pids = first.wait_ready("server", "worker")
        with pytest.raises(AlreadyRunning) as refusal, claim_folder(data_folder.path):
            pass
        with SupervisedRun(data_folder.path, processes=SLEEPERS) as second:
            code = second.wait()

        assert code == 1
        for words in (str(data_folder.path), str(first.process.pid), "EVERGRANT_DATA_DIR"):
            assert words in str(refusal.value)
            assert words in second.errors
        assert all(identity_of(pid) for pid in pids.values())


def test_a_claim_ends_with_its_holder(data_folder: DataFolder) -> None:
    """A holder that was killed with kill -9 keeps nobody out, although its children live on."""
    with SupervisedRun(data_folder.path, processes=SLEEPERS) as first:
        pids = first.wait_ready("server", "worker")
        first.end(signal.SIGKILL)
        assert all(identity_of(pid) for pid in pids.values())

        with claim_folder(data_folder.path) as claimed:
            assert claimed.leftovers == ("worker", "server")
            assert [identity_of(pid) for pid in pids.values()] == [None, None]


def test_leftovers_are_gone_before_the_next_start(data_folder: DataFolder) -> None:
    """The next supervisor stops a killed one's children, and their children, before it starts its own."""
    processes: list[dict[str, object]] = [
        {"name": "worker", "argv": ["sh", "-c", "sleep 1000 & echo $!; wait"]}
    ]
    with SupervisedRun(data_folder.path, processes=processes) as first:
        (old,) = first.wait_ready("worker").values()
        log = data_folder.logs / "worker.log"
        grandchild = int(eventually(lambda: log.read_text().strip()))
        first.end(signal.SIGKILL)
    with SupervisedRun(data_folder.path, processes=processes) as second:
        (new,) = second.wait_ready("worker").values()

        assert identity_of(old) is None
        assert identity_of(grandchild) is None
        assert identity_of(new) is not None


def test_a_stranger_with_the_same_number_is_left_alone(
    data_folder: DataFolder, stranger: subprocess.Popen[bytes]
) -> None:
    """A note whose number now belongs to another process stops nobody, and is forgotten."""
    data_folder.make()
    record = ChildRecord(
        name="worker", position=0, pid=stranger.pid, identity="boot x tick 1", stop_signal=signal.SIGTERM,
        stop_grace_seconds=1,
        serves_others=False,
    )  # fmt: skip
    record.write(data_folder.run)
    with claim_folder(data_folder.path) as claimed:
        assert claimed.leftovers == ()
    assert stranger.poll() is None
    assert list(data_folder.run.glob("*.json")) == []

    # The same note with the right identity does stop it, so it was the identity that protected it.
    replace(record, identity=identity_of(stranger.pid) or "").write(data_folder.run)
    with claim_folder(data_folder.path) as claimed:
        assert claimed.leftovers == ("worker",)
    assert stranger.wait(10) == -signal.SIGTERM


def test_a_damaged_note_does_not_keep_anybody_from_starting(data_folder: DataFolder) -> None:
    """A note that cannot be read is dropped."""
    data_folder.make()
    (data_folder.run / "worker.json").write_text('{"pid": ')

    with claim_folder(data_folder.path) as claimed:
        assert claimed.leftovers == ()


def test_a_folder_that_others_can_write_to_is_refused(data_folder: DataFolder) -> None:
    """A data folder in which others could replace the secrets is refused with the mend."""
    data_folder.path.mkdir()
    data_folder.path.chmod(0o770)

    with (
        pytest.raises(ConfigurationError, match=f"chmod go-w {data_folder.path}"),
        claim_folder(data_folder.path),
    ):
        pass


def test_a_file_in_place_of_the_folder_is_refused(data_folder: DataFolder) -> None:
    """A data folder that is a file is refused with its name."""
    data_folder.path.write_text("hello")
    with pytest.raises(ConfigurationError, match="is not a folder"), claim_folder(data_folder.path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_somebody_elses_folder_is_refused(data_folder: DataFolder) -> None:
    """A data folder of another user is refused, so that no file of ours is mixed into it."""
    data_folder.path.mkdir()
    os.chown(data_folder.path, 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to user id 65534"), claim_folder(data_folder.path):
        pass
