"""A supervisor in a process of its own, to be signalled and killed.

Run as ``python -m tests.support.supervised FOLDER [--servers] [PROCESSES]`` it supervises the embedded
servers and the processes of a JSON list (keyword arguments of `ProcessSpec`), and writes one JSON object a
line for every event.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from domain.errors import EvergrantError
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.embedded.redis import EmbeddedRedis
from workers.supervision.claim import claim_folder
from workers.supervision.spec import ProcessSpec
from workers.supervision.state import Event
from workers.supervision.supervisor import Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
PATH = {"PATH": os.environ["PATH"]}


class SupervisedRun:
    """The test's side: starts the module, and reads its events."""

    def __init__(
        self, folder: Path, *, servers: bool = False, processes: Sequence[Mapping[str, object]] = ()
    ) -> None:
        words = [str(folder), *(["--servers"] if servers else []), json.dumps(list(processes))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", *words],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Like a job of a terminal: a process group of its own, that Ctrl-C signals as a whole.
            start_new_session=True,
        )
        self._errors: list[str] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._readers = [threading.Thread(target=read) for read in (self._read_events, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"end": True})

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    @property
    def errors(self) -> str:
        return "".join(self._errors)

    def wait_for(self, happening: str, name: str, *, seconds: float = 60) -> dict[str, Any]:
        """Give the next such event that was not given before."""
        while True:
            event = self._events.get(timeout=seconds)
            assert "end" not in event, f"ended before {name} was {happening}: {self.errors}"
            self.seen.append(event)
            if event["happening"] == happening and event["name"] == name:
                return event

    def wait_ready(self, *names: str) -> dict[str, int]:
        """Wait until these are ready, in this order, and give their process ids."""
        return {name: self.wait_for("ready", name)["pid"] for name in names}

    def end(self, number: signal.Signals, *, group: bool = False, seconds: float = 60) -> int:
        """Signal the supervisor, or its whole group, and give its exit code; its events are in `seen`."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 60) -> int:
        """Give the exit code once it ended."""
        code = self.process.wait(timeout=seconds)
        for reader in self._readers:
            reader.join()
        while not self._events.empty():
            self.seen.append(self._events.get())
        return code

    def order_of(self, happening: str) -> list[str]:
        """Name those to whom it happened, in that order."""
        return [event["name"] for event in self.seen if event.get("happening") == happening]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            # The end of a failed test: its data folder's fixture ends what this leaves behind.
            self.end(signal.SIGKILL if error else signal.SIGTERM)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _spec(words: dict[str, Any]) -> ProcessSpec:
    ready_file = words.pop("ready_file", None)
    for name in ("ready_timeout", "stop_grace"):
        if name in words:
            words[name] = timedelta(seconds=words[name])
    if ready_file is not None:
        words["ready"] = Path(ready_file).exists
    return ProcessSpec(env=PATH, **words)


def _say(event: Event) -> None:
    sys.stdout.write(json.dumps({"name": event.name, "happening": event.happening, "pid": event.pid}) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Supervise until signalled."""
    folder = DataFolder(Path(sys.argv[1]))
    specs = []
    try:
        with claim_folder(folder.path) as claimed:
            if "--servers" in sys.argv:
                for server in (EmbeddedPostgres(folder), EmbeddedRedis(folder)):
                    server.prepare()
                    specs.append(server.spec())
            specs += [_spec(words) for words in json.loads(sys.argv[-1])]
            Supervisor(specs, claimed, _say).run()
    except EvergrantError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
