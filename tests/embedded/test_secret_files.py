"""Secrets that are made once and read by their owner alone."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from workers.embedded.layout import DataFolder


def never() -> str:
    raise AssertionError("made twice")


def test_a_secret_is_made_once(data_folder: DataFolder) -> None:
    """The first call makes the secret, every later one reads it."""
    made = data_folder.secret_file("key_ring", lambda: "k1:abc")

    assert made == "k1:abc"
    assert data_folder.secret_file("key_ring", never) == "k1:abc"
    assert data_folder.secret("key_ring") == "k1:abc"
    assert data_folder.secret("another") is None


def test_only_the_owner_can_read_it(data_folder: DataFolder) -> None:
    """The folders have mode 0700 and the file 0600, whatever the umask says."""
    former = os.umask(0)
    try:
        data_folder.make()
        data_folder.secret_file("key_ring", lambda: "k1:abc")
    finally:
        os.umask(former)

    folders = [data_folder.path, data_folder.secrets, data_folder.run, data_folder.logs]
    assert [_mode(path) for path in folders] == [0o700] * 4
    assert _mode(data_folder.secret_path("key_ring")) == 0o600
    assert not list(data_folder.secrets.glob("*partial*"))


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_many_at_once_agree_on_one_secret(data_folder: DataFolder) -> None:
    """Eight that ask at the same time for a secret that does not exist get the same one."""
    answers: list[str] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        answers.append(data_folder.secret_file("key_ring", lambda: secrets.token_hex(8)))

    data_folder.make()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 8
    assert len(set(answers)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(data_folder: DataFolder, mode: int) -> None:
    """The refusal names the file, its mode and the command that mends it, and never the secret."""
    data_folder.secret_file("key_ring", lambda: "k1:hush")
    path = data_folder.secret_path("key_ring")
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as refusal:
        data_folder.secret_file("key_ring", never)

    for words in (f"chmod 600 {path}", f"{mode:04o}"):
        assert words in str(refusal.value)
    assert "hush" not in str(refusal.value)


def test_an_empty_file_is_refused(data_folder: DataFolder) -> None:
    """An empty secret is not silently replaced: what it sealed would be lost."""
    data_folder.make()
    path = data_folder.secret_path("key_ring")
    path.touch(mode=0o600)

    with pytest.raises(ConfigurationError, match=f"{path} is empty"):
        data_folder.secret_file("key_ring", never)


def test_a_link_is_not_followed(data_folder: DataFolder) -> None:
    """A symbolic link in a secret's place is refused, wherever it points."""
    data_folder.secret_file("real", lambda: "abc")
    data_folder.secret_path("linked").symlink_to(data_folder.secret_path("real"))

    with pytest.raises(ConfigurationError, match="linked cannot be read"):
        data_folder.secret_file("linked", never)


def test_a_maker_that_fails_leaves_nothing(data_folder: DataFolder) -> None:
    """When making fails there is no file, and the next call makes the secret."""
    with pytest.raises(AssertionError):
        data_folder.secret_file("key_ring", never)

    assert data_folder.secret_file("key_ring", lambda: "abc") == "abc"
