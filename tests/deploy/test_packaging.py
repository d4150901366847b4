"""The wheel and the image hold what a deployment needs, and nothing that it must not."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.deploy.compose import ROOT

PACKAGES = ("domain", "storage", "providers", "services", "tasks", "workers", "api", "simulator")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile copies out of the checkout, and nothing else."""
    place = tmp_path_factory.mktemp("context")
    for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE):
        *sources, target = words.split()
        for source in sources:
            to = place / target / (Path(source).name if not source.endswith("/") else "")
            if source.endswith("/"):
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)
    return place


@pytest.fixture(scope="module")
def wheel(copied: Path) -> zipfile.ZipFile:
    """The wheel that the image installs, built as the Dockerfile does."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index",
            "--wheel-dir", str(copied / "dist"), str(copied),
        ],
        check=True,
    )  # fmt: skip
    (built,) = (copied / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    """Definitions, migrations and every module are in the wheel; tests are not."""
    packed = set(wheel.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("*.py", "*.toml", "*.json", "*.mako")
        for path in (ROOT / package).rglob(pattern)
    }

    assert wanted | {"beat_schedule.py"} <= packed
    assert not [name for name in packed if name.startswith(("tests/", "scripts/"))]
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    """The wheel installs `evergrant`."""
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert b"evergrant = workers.cli.app:main" in wheel.read(entry_points)


def test_image_installs_from_the_lock() -> None:
    """Everything but the project itself is installed by hash, and the project without asking an index."""
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)

    assert len(installs) == 3
    assert all("--require-hashes" in words and "--only-binary" in words for words in installs[:2])
    assert "requirements/app.lock" in installs[1]
    assert "--no-index" in installs[2]


def test_image_runs_as_an_ordinary_user() -> None:
    """The last stage ends as a user that is not root, the one that compose names."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]

    assert re.findall(r"^USER (\S+)$", last, flags=re.MULTILINE) == ["10001:10001"]
    assert last.index("\nRUN ") < last.index("\nUSER ")


def test_image_has_no_secret() -> None:
    """No build argument or variable of the image carries a setting that is a secret."""
    named = re.findall(r"^(?:ARG|ENV) .+$", DOCKERFILE, flags=re.MULTILINE)

    assert not [words for words in named if re.search(r"KEY|PASSWORD|SECRET|TOKEN|_URL", words)]


def test_builder_sees_only_what_is_copied() -> None:
    """The ignore file lets in what the Dockerfile copies, and no `.env`, data folder or git history."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:].rstrip("/") for line in lines if line.startswith("!")]
    copied = {
        source.rstrip("/")
        for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
        for source in words.split()[:-1]
    }

    assert lines[1] == "*"
    assert all(any(fnmatch.fnmatch(source, pattern) for pattern in let_in) for source in copied)
    assert not {".env", ".evergrant", ".git", "tests"} & set(let_in)
