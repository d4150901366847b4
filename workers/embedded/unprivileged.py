"""Running a server as an unprivileged account when we are root.

Postgres refuses to run as root, and a Redis that runs as root lets whoever has its password write any file.
So as root both run as an account of no rights, which owns the server's own folder and nothing else. The data
folder around it stays closed (0700), and may lie under /root: the server is started *inside* its folder, and
names it `/proc/self/cwd`, a link that the kernel follows without walking the path from the root.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path

from domain.errors import ConfigurationError
from workers.embedded.errors import PreparationFailed
from workers.supervision.account import Account, popen_account

_CANDIDATES = ("evergrant", "postgres", "nobody")
_OWN_FOLDER = Path("/proc/self/cwd")
_LAST_WORDS = 600
PLAIN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""What a server needs of an environment; nothing of ours, which may hold secrets, is handed on."""


def server_account(folder: Path) -> Account | None:
    """Choose whom a server runs as: None (ourselves) unless we are root.

    The owner of an existing `folder` stays the account, so that one installed later changes nothing.

    Raises:
        ConfigurationError: We are root and the machine has no unprivileged account.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and (facts := folder.stat()).st_uid != 0:
        return Account(_name_of(facts.st_uid), facts.st_uid, facts.st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "embedded servers do not run as root, and none of the accounts "
        f"{', '.join(_CANDIDATES)} exists; run as an ordinary user, or make one: useradd --system evergrant"
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with user id {uid}"


def hand_over(path: Path, account: Account | None) -> None:
    """Make `path` the account's own; nothing to do without one.

    Raises:
        ConfigurationError: This root may not give files away, as in some containers.
    """
    if account is None:
        return
    try:
        # Not through a link: in its own folder the account could swap the file for one.
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except PermissionError as error:
        raise ConfigurationError(
            f"root may not give {path} to the account {account.name} here, and Postgres does not run as "
            "root; run as an ordinary user"
        ) from error


def seen_from_inside(folder: Path, account: Account | None) -> Path:
    """Name `folder` for a process that is started inside it.

    Raises:
        ConfigurationError: The account cannot enter the folder, and the system has no /proc to help.
    """
    if account is None:
        return folder
    if _OWN_FOLDER.exists():
        return _OWN_FOLDER
    if can_run(["/bin/test", "-r", str(folder)], account):
        return folder
    raise ConfigurationError(
        f"the account {account.name} cannot reach {folder}; set EVERGRANT_DATA_DIR to a folder whose parents "
        "everybody may enter"
    )


def can_run(argv: Sequence[str], account: Account | None) -> bool:
    """Say whether the account can run this short command with success."""
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            capture_output=True,
            cwd="/",
            env=PLAIN_ENVIRONMENT,
            timeout=30,
            **popen_account(account),
        )
    except OSError:
        return False
    return done.returncode == 0


def run_inside(
    folder: Path, argv: Sequence[str], account: Account | None, *, what: str, text: str = ""
) -> None:
    """Run a server's tool inside `folder` as the account, with `text` as its standard input.

    Raises:
        PreparationFailed: It failed; the message carries the end of what it wrote.
    """
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            env=PLAIN_ENVIRONMENT,
            umask=0o077,
            **popen_account(account),
        )
    except OSError as error:
        raise PreparationFailed(f"{what} failed: {argv[0]}: {error.strerror or error}") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-_LAST_WORDS:]
        raise PreparationFailed(f"{what} failed (exit code {done.returncode}): {words}")
