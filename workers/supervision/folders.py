"""Folders that only their owner enters."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from domain.errors import ConfigurationError

_OWNER_ONLY = 0o700


def own_folder(path: Path) -> Path:
    """Make sure `path` is a folder of ours that nobody else can write to; made owner-only when missing.

    An existing folder is never changed, because a person may have chosen it for other things as well.

    Raises:
        ConfigurationError: It is not a folder, belongs to somebody else, or others can write to it.
    """
    try:
        path.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigurationError(f"{path} is not a folder; remove it or choose another place") from None
    except OSError as error:
        raise ConfigurationError(
            f"the folder {path} cannot be made ({error.strerror}); set EVERGRANT_DATA_DIR to a place where "
            "you may write"
        ) from error
    facts = path.stat()
    if facts.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to user id {facts.st_uid}, and this runs as user id {os.geteuid()}; run as its "
            "owner, or set EVERGRANT_DATA_DIR to a folder of your own"
        )
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"others can write to {path} (mode {stat.S_IMODE(facts.st_mode):04o}), so they could replace the "
            f"secrets in it; run `chmod go-w {path}`, or set EVERGRANT_DATA_DIR to another folder"
        )
    return path


def private_folder(path: Path) -> Path:
    """Make sure `path` is a folder of ours with mode 0700, whatever it was; for folders that we made."""
    own_folder(path.parent)
    path.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != _OWNER_ONLY:
        path.chmod(_OWNER_ONLY)
    return path
