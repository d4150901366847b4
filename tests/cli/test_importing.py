"""`evergrant connections import`: good lines in, bad lines named by number and reason, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator.client import MintedGrant
from simulator.process import SimulatorProcess
from tests.acceptance.deployment import import_line
from tests.cli.conftest import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

LINE: Mapping[str, Any] = {
    "user_id": "u1",
    "provider_id": "gsc",
    "access_token": "sim-at-one",
    "refresh_token": "sim-rt-one",
    "expires_at": "2030-01-01T00:00:00+00:00",
    "scope": ["a"],
    "metadata": {},
}


def line(**changed: object) -> str:
    """Write a line; a field given as ... is left out."""
    fields = {name: value for name, value in {**LINE, **changed}.items() if value is not ...}
    return json.dumps(fields)


#: What is wrong → the line, and words that its report must hold.
BAD: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "no JSON": ("{not json sim-rt-shown", ("JSON",)),
    "no object": ('["sim-rt-shown"]', ("object",)),
    "missing": (line(access_token=...), ("access_token", "required")),
    "null": (line(access_token=None), ("access_token",)),
    "empty": (line(user_id=""), ("user_id",)),
    "unknown provider": (line(provider_id="gcs"), ("provider_id", "known are", "wix-legacy")),
    "wrong type": (line(user_id=7), ("user_id", "string")),
    "wrong scope": (line(scope="read write"), ("scope", "array")),
    "wrong metadata": (line(metadata=[]), ("metadata",)),
    "naive time": (line(expires_at="2030-01-01T00:00:00"), ("expires_at", "timezone")),
    "no time": (line(expires_at="tomorrow"), ("expires_at",)),
    "misspelt": (line(refresh_tokn="sim-rt-shown"), ("refresh_tokn",)),
    "lacks metadata": (line(provider_id="wix-app", refresh_token=None), ("metadata", "instance_id")),
    "NUL": (line(user_id="a\0b"), ("user_id",)),
    "too long": (line(metadata={"note": "x" * 300_000}), ("longer",)),
}


def test_bad_lines_are_named_and_stop_nothing(deployed: Shell, tmp_path: Path) -> None:
    """Good lines between bad ones are imported; each bad one is told with its number and its fields, never
    a token; standard output is the summary alone, and the status is 1."""
    lines: list[str] = []
    expected: list[tuple[int, str, tuple[str, ...]]] = []
    for number, (what, (bad, says)) in enumerate(BAD.items()):
        lines += [bad, line(user_id=f"good-{number}")]
        expected.append((len(lines) - 1, what, says))
    lines.append("")
    file = tmp_path / "connections.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    done = deployed("connections", "import", str(file))

    assert done.returncode == 1
    reports = {}
    for said in done.stderr.splitlines():
        place, _, reason = said.removeprefix("line ").partition(": ")
        if said.startswith("line "):
            reports[int(place)] = reason
    for number, what, says in expected:
        assert number in reports, f"{what}: {done.stderr}"
        assert all(word.lower() in reports[number].lower() for word in says), f"{what}: {reports[number]}"
    assert set(reports) == {number for number, _, _ in expected}
    assert "sim-" not in done.stdout + done.stderr
    counts = f"{len(BAD)} created, {len(BAD)} rejected"
    assert done.stdout == f"{2 * len(BAD)} lines: {counts}\n"
    assert len(deployed.json("connections", "list")) == len(BAD)


def test_importing_again_keeps_what_is_there(deployed: Shell, simulator: SimulatorProcess) -> None:
    """A repeated import keeps living credentials and updates scope and metadata; with --replace-credentials
    the tokens are replaced."""
    first, second = simulator.client.mint("google", 2, user="u1")
    names: dict[str, object] = {"user_id": "u1"}
    assert "1 created" in imported(deployed, first, **names)
    assert "1 kept" in imported(deployed, first, **names, scope=["b"], metadata={"plan": "gold"})
    row = deployed.json("connections", "list")[0]
    assert (row["scope"], row["metadata"], row["version"]) == (["b"], {"plan": "gold"}, 1)

    assert "1 kept" in imported(deployed, second, **names)
    assert "1 replaced" in imported(deployed, second, "--replace-credentials", **names)
    assert deployed.json("connections", "list")[0]["version"] == 2


def imported(shell: Shell, grant: MintedGrant, *more: str, **changed: object) -> str:
    done = shell("connections", "import", "-", *more, stdin=import_line(grant, "gsc", **changed))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_without_a_line_is_done(deployed: Shell) -> None:
    """Nothing in, nothing wrong."""
    done = deployed("connections", "import", "-", stdin="\n\n")

    assert (done.returncode, done.stdout) == (0, "0 lines: 0 rejected\n")


def test_binary_rubbish_is_one_bad_line(deployed: Shell) -> None:
    """What is no text at all is reported like any other bad line."""
    done = deployed("connections", "import", "-", stdin=b"\xff\xfe\x00garbage\n" + line().encode())

    assert done.returncode == 1
    assert "line 1: " in done.stderr
    assert done.stdout == "2 lines: 1 created, 1 rejected\n"
