"""What a supervisor tells about its processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """Where a supervised process stands."""

    WAITING = "waiting"
    """Not started yet: an earlier one is not ready."""
    STARTING = "starting"
    """Runs, and its probe has not said yes yet."""
    RUNNING = "running"
    """Runs, and was ready."""
    RESTARTING = "restarting"
    """Died; will be started again after a pause."""
    DONE = "done"
    """A step that ended well."""
    STOPPING = "stopping"
    """Was asked to end."""
    STOPPED = "stopped"
    """Gone, because we stopped."""


@dataclass(frozen=True)
class ProcessState:
    """One process at one moment.

    Attributes:
        pid: None while no process runs.
        restarts: How often it was started again after it died.
        since: When the status last changed, in UTC.
        last_exit: The exit code of the last run that ended (negative: by that signal), None before.
    """

    name: str
    status: Status
    pid: int | None
    restarts: int
    since: datetime
    last_exit: int | None


class Happening(StrEnum):
    """What an `Event` reports."""

    STARTED = "started"
    READY = "ready"
    DONE = "done"
    """A step ended well."""
    DIED = "died"
    NOT_READY = "not_ready"
    """A restarted process missed its `ready_timeout` and is killed to be started again."""
    STOPPING = "stopping"
    KILLED = "killed"
    """It did not end within its grace."""
    SPARED = "spared"
    """Its grace is over, and it is not killed, because something would be lost by it."""
    STOPPED = "stopped"
    DISPLAY_FAILED = "display_failed"
    """The caller's `tick` raised; told once for each kind of exception."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a process (or to the display: then `name` is empty).

    Attributes:
        pid: The process concerned, None when there is none.
        detail: For people: exit code, delay until the restart, place of the log. Never a secret.
    """

    name: str
    happening: Happening
    pid: int | None = None
    detail: str = ""
