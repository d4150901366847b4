"""The command line in processes of its own that need not import everything anew: a table of seventy commands
would otherwise cost two minutes of importing.

Run as ``python -m tests.cli.preloaded SOCKET`` it imports every command once, and for each request forks a
child that becomes `evergrant` with the given words, environment, working folder and standard files. What
starts the interpreter for real stays covered by the tests that do.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.acceptance.deployment import CHECKOUT, bare_environment
from tests.support.waiting import eventually
from workers.cli.app import COMMANDS, main


class Preloaded:
    """The test's side: starts the module, and runs commands by it."""

    def __init__(self, folder: Path) -> None:
        self._address = folder / "preloaded.socket"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.preloaded", str(self._address)],
            cwd=CHECKOUT,
            env=bare_environment(),
            # No terminal: the width of tables is decided when the command line is imported.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def run(
        self,
        words: tuple[str, ...],
        environment: Mapping[str, str],
        cwd: Path,
        stdin: bytes,
        *,
        seconds: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run `evergrant` with these words to its end."""
        eventually(self._listens, what="the preloaded command line listens")
        order = json.dumps({"words": words, "environment": dict(environment), "cwd": str(cwd)}).encode()
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX) as line,
        ):
            given.write(stdin)
            given.seek(0)
            line.settimeout(seconds)
            line.connect(str(self._address))
            socket.send_fds(
                line, [len(order).to_bytes(4, "big")], [file.fileno() for file in (given, out, err)]
            )
            line.sendall(order)
            status = int(line.recv(16))
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(words, status, out.read().decode(), err.read().decode())

    def _listens(self) -> bool:
        assert self._process.poll() is None
        return self._address.exists()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)


def _become(order: dict[str, Any], files: list[int]) -> NoReturn:
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.argv = ["evergrant", *order["words"]]
    status: object = 1
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - what the interpreter would print
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _serve(address: str) -> NoReturn:
    for module, _ in COMMANDS.values():
        import_module(f"workers.cli.{module}")
    # A child that collects what it never made would copy every page for it.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address + ".new")
        server.listen()
        Path(address + ".new").rename(address)
        while True:
            line, _ = server.accept()
            with line:
                size, files, _, _ = socket.recv_fds(line, 4, 3)
                length = int.from_bytes(size, "big")
                text = line.recv(length, socket.MSG_WAITALL)
                if (child := os.fork()) == 0:
                    _become(json.loads(text), files)
                _, status = os.waitpid(child, 0)
                for file in files:
                    os.close(file)
                line.sendall(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    _serve(sys.argv[1])
