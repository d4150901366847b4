"""Secrets kept in files that only their owner can read."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConfigurationError
from storage.files import replace_private

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create_once(path: Path, make: Callable[[], str]) -> str:
    """Read the secret in `path`, after making it there if it does not exist yet.

    Among any number of processes `make` is called by one, and a kill leaves a whole secret or none.

    Args:
        path: In an existing folder of ours; the file gets mode 0600.
        make: Gives a new secret, one line of text.

    Raises:
        ConfigurationError: The file exists and others may read it, belongs to somebody else, or is empty.
    """
    secret = read_secret(path)
    if secret is not None:
        return secret
    with _alone_in(path.parent):
        secret = read_secret(path)
        if secret is None:
            secret = make()
            replace_private(path, secret + "\n")
    return secret


def read_secret(path: Path) -> str | None:
    """Read the secret in `path`; None when there is no such file.

    Raises:
        ConfigurationError: Others may read it, it belongs to somebody else, or it is empty.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"the secret file {path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, encoding="utf-8") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigurationError(f"{path} should hold a secret and is not a file; remove it")
        if facts.st_uid != os.geteuid():
            raise ConfigurationError(
                f"the secret file {path} belongs to user id {facts.st_uid}, and this runs as user id "
                f"{os.geteuid()}; run as its owner"
            )
        if facts.st_mode & _OPEN_TO_OTHERS:
            raise ConfigurationError(
                f"others may read the secret file {path} (mode {stat.S_IMODE(facts.st_mode):04o}); run "
                f"`chmod 600 {path}`, and replace the secret if somebody may have read it"
            )
        secret = file.read().strip()
    if not secret:
        raise ConfigurationError(f"the secret file {path} is empty; restore it from a backup")
    return secret


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for our turn among the processes that make secrets in this folder."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
