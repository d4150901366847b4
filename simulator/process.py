"""Starts a simulator as a process of its own and stops it again, for the demo and for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from simulator.client import SimulatorClient, SimulatorError

_TOKEN_VARIABLE = "EVERGRANT_SIMULATOR_CONTROL_TOKEN"  # noqa: S105 - a variable's name
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


class SimulatorProcess:
    """A running ``python -m simulator``; as a context manager it is stopped at the end.

    Attributes:
        base_url: ``http://127.0.0.1:port``.
        client: drives it.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        journal: Path | None = None,
        control_token: str | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Start it and wait until it listens.

        Args:
            port: 0 takes any free one; the port of one that was killed may be given to take its place.
            journal: where it remembers; None forgets everything at the end.
            control_token: what its control interface asks for; passed by environment, never as an argument.
            arguments: further ones of ``python -m simulator``.

        Raises:
            SimulatorError: it ended or did not listen within 30 s; the text is what it said.
        """
        command = [sys.executable, "-m", "simulator", "--port", str(port), *arguments]
        environment = dict(os.environ)
        # The package may run from a checkout that is nobody's working directory.
        root = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        if journal is not None:
            command += ["--journal", str(journal)]
        if control_token is not None:
            command += ["--control-token-env", _TOKEN_VARIABLE]
            environment[_TOKEN_VARIABLE] = control_token
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as complaints:
            port_file = Path(folder) / "port"
            self.process = subprocess.Popen(
                [*command, "--port-file", str(port_file)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )
            try:
                self.port = self._await_port(port_file)
            except SimulatorError as error:
                self.kill()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip()
                raise SimulatorError(f"{error} {said}".strip()) from error
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.client = SimulatorClient(self.base_url, control_token)

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    def _await_port(self, port_file: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if port_file.exists():
                return int(port_file.read_text())
            if self.process.poll() is not None:
                raise SimulatorError(f"the simulator ended with status {self.process.returncode}:")
            time.sleep(0.02)
        raise SimulatorError(f"the simulator did not listen within {_START_SECONDS:.0f} s:")
