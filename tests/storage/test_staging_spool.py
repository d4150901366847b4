"""The spool: complete or not there, on the disk before it counts, and nobody else's to read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from domain.errors import ConfigurationError
from storage.staging.envelope import Envelope, seal_answer
from storage.staging.spool import Spool
from tests.storage.making import a_sealer
from tests.storage.staged import ACCESS, OWNER, REFRESH, an_answer

SEALER = a_sealer()
#: Writes many answers into a folder that another process writes into as well; says which.
_WRITER = """\
import sys
from pathlib import Path
from storage.staging.envelope import seal_answer
from storage.staging.spool import Spool
from tests.storage.making import a_sealer
from tests.storage.staged import OWNER, an_answer

spool, sealer = Spool(Path(sys.argv[1])), a_sealer()
for _ in range(50):
    envelope = seal_answer(an_answer(), OWNER, sealer)
    spool.put(envelope)
    print(envelope.attempt_id, flush=True)
"""
#: Writes one answer under a limit of the size of files: the disk is full after so many bytes.
_FULL = """\
import resource, sys
from pathlib import Path
from storage.staging.envelope import seal_answer
from storage.staging.spool import Spool
from tests.storage.making import a_sealer
from tests.storage.staged import OWNER, an_answer

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    Spool(Path(sys.argv[1])).put(seal_answer(an_answer(), OWNER, a_sealer()))
except OSError as error:
    print(type(error).__name__)
else:
    print("kept")
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "data" / "spool")
    made.prepare()
    return made


def an_envelope() -> Envelope:
    return seal_answer(an_answer(), OWNER, SEALER)


def run(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_put_is_there_until_it_is_removed(spool: Spool) -> None:
    """An answer is found, by connection too, and removing it twice is as good as once."""
    mine, other = an_envelope(), an_envelope()
    spool.put(mine)
    spool.put(other)

    assert set(spool.envelopes()) == {mine, other}
    assert list(spool.envelopes(mine.connection_id)) == [mine]
    assert spool.attempts() == {mine.attempt_id, other.attempt_id}
    for _ in range(2):
        spool.remove(mine.connection_id, mine.attempt_id)
    assert list(spool.envelopes()) == [other]


def test_only_its_owner_can_read_it(spool: Spool) -> None:
    """Folder and files are closed to everybody else, whatever the umask, and hold no token in the clear."""
    before = os.umask(0)
    try:
        spool.put(an_envelope())
    finally:
        os.umask(before)

    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    (file,) = spool.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for secret in (ACCESS, REFRESH, "very-secret"):
        assert secret.encode() not in file.read_bytes()


def test_a_folder_that_others_can_read_is_closed(tmp_path: Path) -> None:
    """A folder made by hand, open to all, is not left so."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o755)

    Spool(folder).prepare()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    """The message names the folder and the variable."""
    (tmp_path / "taken").touch()

    with pytest.raises(ConfigurationError, match=r"taken/spool.*EVERGRANT_DATA_DIR"):
        Spool(tmp_path / "taken" / "spool").prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_stops_the_start(tmp_path: Path) -> None:
    """Whoever owns the folder could read what is put there."""
    folder = tmp_path / "spool"
    folder.mkdir()
    os.chown(folder, 12345, 12345)

    with pytest.raises(ConfigurationError, match="belongs to another user"):
        Spool(folder).prepare()


@pytest.mark.parametrize("limit", [0, 1, 200, 600])
def test_a_full_disk_leaves_nothing_behind(spool: Spool, limit: int) -> None:
    """An answer that does not fit is refused, and neither it nor a part of it is there."""
    with run(_FULL, str(spool.folder), str(limit)) as process:
        said, _ = process.communicate(timeout=60)

    assert said.strip() == "OSError"
    assert list(spool.folder.iterdir()) == []


def test_a_vanished_folder_is_made_again(spool: Spool) -> None:
    """Who removes it under a running worker does not cost an answer; it is again its owner's alone."""
    spool.folder.rmdir()
    assert list(spool.envelopes()) == []
    envelope = an_envelope()

    spool.put(envelope)

    assert list(spool.envelopes()) == [envelope]
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_refuses(spool: Spool) -> None:
    """Where something else stands in its place the spool says so; it does not pretend."""
    spool.folder.rmdir()
    spool.folder.write_bytes(b"")

    with pytest.raises(OSError, match="Not a directory"):
        spool.put(an_envelope())
    assert spool.folder.read_bytes() == b""


def test_a_part_is_no_answer(spool: Spool) -> None:
    """What a killed process had begun to write is not read, and is removed when it has no writer any more."""
    envelope = an_envelope()
    place = spool.folder / f"{envelope.connection_id}.{envelope.attempt_id}.staged"
    old, new = (place.with_name(f"{place.name}.{name}.part") for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(envelope.encode()[:100])
    os.utime(old, (1, 1))

    spool.tidy()

    assert (old.exists(), new.exists()) == (False, True)
    assert list(spool.envelopes()) == []
    assert spool.attempts() == frozenset()
    spool.put(envelope)
    assert list(spool.envelopes()) == [envelope]


def test_two_processes_share_a_folder(spool: Spool) -> None:
    """Everything that each of them put is there, and what is read meanwhile is always whole."""
    writers = [run(_WRITER, str(spool.folder)) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert spool.unreadable() == []
    told = {line for writer in writers for line in writer.communicate(timeout=60)[0].split()}

    assert len(told) == 100
    assert {str(attempt) for attempt in spool.attempts()} == told


def test_one_bad_file_keeps_nobody_else(spool: Spool) -> None:
    """Damaged, foreign, misnamed and unreadable files are told and left alone; the others are read."""
    good, moved = an_envelope(), an_envelope()
    spool.put(good)
    bad = {
        f"{good.connection_id}.{uuid4()}.staged": b'{"format": 1, "connection_id": 5',
        f"{uuid4()}.{uuid4()}.staged.": b"not ours",
        "foreign.staged": b"\x00\xff",
        f"{uuid4()}.{uuid4()}.staged": moved.encode(),
    }
    for name, content in bad.items():
        (spool.folder / name).write_bytes(content)
    folder = f"{uuid4()}.{uuid4()}.staged"
    (spool.folder / folder).mkdir()

    assert list(spool.envelopes()) == [good]
    ours = {name for name in bad if name.endswith(".staged")} | {folder}
    assert set(spool.unreadable()) == ours
    assert set(bad) <= {path.name for path in spool.folder.iterdir()}


def test_it_does_not_write_through_a_link(spool: Spool, tmp_path: Path) -> None:
    """A link in the place of the answer is replaced; what it points to is left alone."""
    envelope = an_envelope()
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (spool.folder / f"{envelope.connection_id}.{envelope.attempt_id}.staged").symlink_to(target)

    spool.put(envelope)

    assert target.read_bytes() == b"precious"
    assert list(spool.envelopes()) == [envelope]


def test_an_answer_is_on_the_disk_before_it_counts(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synchronised before it has its name, and the folder after it."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        calls.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    spool.put(an_envelope())

    assert calls == ["file", "name", "folder"]
