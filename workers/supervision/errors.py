"""Why a start is refused or given up; each message names the place and the way to mend it."""

from __future__ import annotations

from pathlib import Path

from domain.errors import ConfigurationError, EvergrantError, ServiceUnavailable


class AlreadyRunning(EvergrantError):
    """Another supervisor holds this data folder.

    Attributes:
        pid: The holder's process id, or None when it could not be read.
    """

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = "another evergrant" if pid is None else f"another evergrant (process {pid})"
        how = "stop it" if pid is None else f"stop it with Ctrl-C in its terminal or `kill {pid}`"
        super().__init__(
            f"{who} is already running on {folder}; {how}, or set EVERGRANT_DATA_DIR to another folder"
        )
        self.pid = pid


class PortInUse(ConfigurationError):
    """A port that one of our processes must listen on belongs to somebody else."""

    def __init__(self, port: int, wanted_by: str) -> None:
        super().__init__(
            f"port {port} on 127.0.0.1, which {wanted_by} needs, is in use by another program; "
            f"stop that program (`ss -ltnp 'sport = :{port}'` shows it) or give {wanted_by} another port"
        )
        self.port = port


class CannotLaunch(EvergrantError):
    """The operating system refused to run a program."""


class NeverReady(ServiceUnavailable):
    """At the first start a process did not become ready in time or died before it did, or a step failed."""

    def __init__(self, name: str, why: str, log: Path, last_line: str) -> None:
        said = f"; its last words: {last_line}" if last_line else ""
        super().__init__(f"{name} {why}{said}; see {log}")
        self.name = name
