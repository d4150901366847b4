"""`.venv` is built anew when, and only when, something it was built from has changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts import build_env
from tests.deploy.compose import ROOT

ASKED = {"layer": "demo", "python": "3.12", "place": "/somewhere", "locks": "a", "project": "b"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, in which the builder works instead of this one."""
    monkeypatch.setattr(build_env, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(build_env, "NOTE", tmp_path / ".venv/evergrant-environment.json")
    return tmp_path


@pytest.mark.parametrize("key", ["python", "place", "locks"])
def test_other_python_place_or_locks_need_everything(key: str) -> None:
    """Another Python, a moved folder or changed locks: the environment is made from nothing."""
    assert build_env.missing({**ASKED, key: "other"}, ASKED) == "everything"


@pytest.mark.parametrize(
    ("there", "asked", "lacks"),
    [
        ("demo", "demo", None),
        ("dev", "demo", None),
        ("demo", "dev", "packages"),
        ("app", "demo", "packages"),
    ],
)
def test_wider_environment_serves_the_narrower_need(there: str, asked: str, lacks: str | None) -> None:
    """What `make test` built serves `make demo`; the other way round the missing packages are added."""
    assert build_env.missing({**ASKED, "layer": there}, {**ASKED, "layer": asked}) == lacks


def test_changed_entry_points_need_the_project_alone() -> None:
    """A change of pyproject.toml's project part installs the project again, and no package."""
    assert build_env.missing({**ASKED, "project": "other"}, ASKED) == "project"


@pytest.mark.parametrize("note", [None, "", '{"layer": "demo"', "[]", '{"layer": "unheard of"}'])
def test_unfinished_environment_counts_as_none(place: Path, note: str | None) -> None:
    """Without a whole note the building was interrupted, and everything is built again."""
    (place / ".venv").mkdir()
    if note is not None:
        build_env.NOTE.write_text(note, encoding="utf-8")

    assert build_env.built() is None
    assert build_env.missing(build_env.built(), ASKED) == "everything"


def test_note_of_a_finished_environment_is_read_back(place: Path) -> None:
    """What was noted is what is compared."""
    (place / ".venv").mkdir()
    build_env.NOTE.write_text(json.dumps(ASKED), encoding="utf-8")

    assert build_env.missing(build_env.built(), ASKED) is None


def test_nothing_but_an_environment_is_removed(place: Path) -> None:
    """A `.venv` that holds something else is left alone, and named."""
    precious = place / ".venv/precious"
    precious.parent.mkdir()
    precious.touch()

    with pytest.raises(FileExistsError, match="is no virtual environment: move it aside"):
        build_env.make_new()

    assert precious.exists()


def test_half_made_environment_is_replaced(place: Path) -> None:
    """One that was interrupted in its making is taken away and made again, with a Python that runs."""
    (place / ".venv/bin").mkdir(parents=True)
    (place / ".venv/pyvenv.cfg").touch()
    (place / ".venv/rest").touch()

    build_env.make_new()

    assert not (place / ".venv/rest").exists()
    subprocess.run([str(place / ".venv/bin/python"), "-c", ""], check=True)


def test_linked_environment_is_unlinked_and_its_target_kept(place: Path) -> None:
    """`.venv` as a link to somewhere else: the link goes, what it points to stays."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pyvenv.cfg").touch()
    (place / ".venv").symlink_to(elsewhere)

    build_env.make_new()

    assert (elsewhere / "pyvenv.cfg").exists()
    assert not (place / ".venv").is_symlink()


def make(*words: str) -> str:
    # Without what a `make test` around this test hands down to every make below it.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", "--no-print-directory", *words],  # noqa: S607 - the make that everybody uses
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout


def test_make_lists_every_command() -> None:
    """`make` alone lists all its targets, each with what it does."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\S+)$", text, flags=re.MULTILINE))

    listed = set(re.findall(r"^  make (\S+) +\S", make(), flags=re.MULTILINE))

    assert {"help", "env", "demo", "test", "check", "fmt", "lock", "clean"} <= targets
    assert listed == targets


def test_demo_starts_with_the_time_it_was_asked_for() -> None:
    """`make demo` builds what is missing and becomes `evergrant up --demo`, with what ARGS says."""
    words = make("--dry-run", "demo", "ARGS=--flower-port 5678").splitlines()

    assert "scripts/preflight.py demo" in words[0]
    assert words[-1].split() == [
        "exec", ".venv/bin/evergrant", "up", "--demo", "--flower-port", "5678",
    ]  # fmt: skip
