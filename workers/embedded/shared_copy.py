"""Copies of the servers' programs for an account that cannot reach the originals.

Needed as root: a virtual environment under /root is closed to every other account, and its parents are not
ours to open.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from domain.errors import ConfigurationError
from workers.embedded.programs import Installed
from workers.embedded.unprivileged import can_run
from workers.supervision.account import Account

_PLACES = (Path("/var/lib/evergrant"), Path("/var/tmp/evergrant"))  # noqa: S108 - ownership is checked
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def reachable(installed: Installed, name: str, account: Account | None) -> Path:
    """Give the program of that name where the account can run it: the original, or a copy.

    The copy is made once per version.

    Args:
        installed: Where the program is.
        name: The program's name, such as ``initdb``.
        account: Whom it is run as; None means ourselves, and then the original serves.

    Raises:
        ConfigurationError: The account can run neither, and no place for a copy was found.
    """
    original = installed.program(name)
    if account is None or can_run([str(original), "--version"], account):
        return original
    folder = f"{Path(installed.parts[0]).name}-{_fingerprint(installed)}"
    for place in _PLACES:
        if _is_trusted(place) and _has_copy(installed, place / folder):
            program = place / folder / original.relative_to(installed.root)
            if can_run([str(program), "--version"], account):
                return program
    raise ConfigurationError(
        f"the account {account.name} can run neither {original} nor a copy under "
        f"{' or '.join(str(place) for place in _PLACES)}; install Evergrant where everybody may read"
    )


def _files(installed: Installed) -> Iterator[Path]:
    for part in installed.parts:
        path = installed.root / part
        yield from [path] if path.is_file() else sorted(path.rglob("*"))


def _fingerprint(installed: Installed) -> str:
    """Tell one version from another without reading it: names, sizes and times of its files."""
    digest = hashlib.sha256()
    for path in _files(installed):
        facts = path.lstat()
        name = path.relative_to(installed.root)
        if stat.S_ISREG(facts.st_mode):
            digest.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _is_trusted(place: Path) -> bool:
    """Make the place if it is missing; say whether root alone can write there."""
    try:
        if not place.exists():
            place.mkdir(parents=True)
            place.chmod(0o755)
        facts = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == 0 and not facts.st_mode & _WRITABLE_BY_OTHERS


def _has_copy(installed: Installed, copy: Path) -> bool:
    """Make the copy if it is missing, whole or not at all; say whether it is there."""
    if copy.exists():
        return True
    try:
        with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".copying-") as staging:
            partial = Path(staging) / copy.name
            for part in installed.parts:
                _copy(installed.root / part, partial / part)
            _open_to_everybody(partial)
            partial.rename(copy)
    except OSError:
        # Another process may have finished the same copy first; a full disk leaves none.
        return copy.exists()
    return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        # Headers are for compiling against the server.
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include"))
    elif source.exists():
        shutil.copy2(source, target)


def _open_to_everybody(root: Path) -> None:
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for path in (Path(folder) / file for file in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
