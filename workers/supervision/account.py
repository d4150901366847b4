"""The operating-system account that a child process runs as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class PopenAccount(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that change the account; empty for our own."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An unprivileged account; only root can start a process as another one."""

    name: str
    uid: int
    gid: int


def popen_account(account: Account | None) -> PopenAccount:
    """Give what makes `subprocess` run a program as `account`; None means as ourselves."""
    if account is None:
        return {}
    # Without extra_groups the child would keep root's supplementary groups.
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
