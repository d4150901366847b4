"""A process that refreshes one connection when told to, to be killed, frozen and starved of disk.

Run as ``python -m tests.services.stager`` it reads its settings as a JSON object from the first line of its
input, says ``ready``, refreshes at ``go`` and says the result, and ends in good order at ``end``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import structlog
from pydantic import SecretStr

from domain.asks import RefreshAsk
from services.refresh import sweeping
from services.settings import Settings
from services.wiring import Servers, wire
from tests.services.simulated import credentials, definitions
from tests.services.world import Connected, World

CHECKOUT: Final = Path(__file__).resolve().parents[2]
#: No file may become longer than this: a full disk, as far as a process can tell.
_FULL_AT: Final = 100


class Stager:
    """The test's side."""

    def __init__(
        self, world: World, connected: Connected, *, full_disk: bool = False, redis_url: str | None = None
    ) -> None:
        file = world.data_dir.parent / "providers-stager.toml"
        url = world.simulator.base_url
        file.write_text(definitions(url, url), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.stager"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # No file: its disk may be full.
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._tell(
            json.dumps(
                {
                    "database_url": world.database_url,
                    "redis_url": redis_url or world.redis_url,
                    "keys": world.keys,
                    "providers_file": str(file),
                    "data_dir": str(world.data_dir),
                    "connection_id": str(connected.id),
                    "provider_id": connected.provider_id,
                    "full_disk": full_disk,
                }
            )
        )
        ready = self._said()
        assert ready.startswith("ready "), self.said()
        self.owner = ready.removeprefix("ready ")

    def go(self) -> None:
        """Let it begin."""
        self._tell("go")

    def result(self) -> dict[str, Any]:
        """Give what its refresh came to."""
        answer: dict[str, Any] = json.loads(self._said())
        return answer

    def end(self) -> int:
        """Let it end in good order."""
        self._tell("end")
        code = self.process.wait(60)
        self._close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._close()

    def said(self) -> str:
        return "".join(self._errors)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    def _close(self) -> None:
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.kill()


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> None:
    """Do as told."""
    # Standard output is for the test.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = json.loads(sys.stdin.readline())
    # What is staged here stays: others are to land it.
    sweeping.EVERY = 0.5 if given["full_disk"] else 3600.0  # type: ignore[misc]  # a test's own pace
    services = wire(
        Settings(providers_file=Path(given["providers_file"]), data_dir=Path(given["data_dir"])),
        Servers(*(SecretStr(given[name]) for name in ("database_url", "redis_url", "keys"))),
        credentials(),
        role="test",
        threads=2,
    )
    services.sweeper.start()
    if given["full_disk"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_AT, resource.RLIM_INFINITY))
    _say(f"ready {services.sweeper.owner}")

    def refresh() -> None:
        result = services.refresh.refresh(
            UUID(given["connection_id"]), RefreshAsk(scheduled=True), provider_id=given["provider_id"]
        )
        _say(json.dumps({"outcome": result.outcome, "code": result.code, "version": result.version}))

    threads: list[threading.Thread] = []
    for line in sys.stdin:
        if line.strip() == "end":
            for thread in threads:
                thread.join()
            services.close()
            return
        threads.append(threading.Thread(target=refresh, daemon=True))
        threads[-1].start()


if __name__ == "__main__":
    main()
