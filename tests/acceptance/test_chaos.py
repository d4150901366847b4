"""A small campaign of faults against real processes, judged from the provider's side as well as ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import table
from tests.acceptance.deployment import CHECKOUT, bare_environment

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

PROMISES = (
    "concurrent_presentations",
    "late_presentations",
    "unannounced_presentations",
    "spent_tokens_presented",
    "answers_lost",
    "grants_lost",
    "left_undone",
    "alerts_untrue_or_missing",
    "presented_too_soon",
    "presentations_of_replaced_grants",
    "spent_tokens_imported",
)
#: Its own bound on faults and recovery is under three minutes; a busy machine starts processes slowly.
PATIENCE = 270


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("chaos")
    page = folder / "reliability.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    words = ("--short", "--seed", "1", "--output", str(folder / "chaos.json"), "--page", str(page))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos", *words],
        env=bare_environment(), cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        output, complaints = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            # It ends what it started before it ends itself.
            process.terminate()
            process.wait(timeout=60)
    assert process.returncode in (0, 1), complaints[-3000:]
    result: dict[str, Any] = json.loads((folder / "chaos.json").read_text(encoding="utf-8"))
    assert output.strip() in page.read_text(encoding="utf-8")
    assert process.returncode == bool(result["broken"])
    return result


@pytest.mark.parametrize("promise", PROMISES)
def test_no_promise_was_broken(campaign: dict[str, Any], promise: str) -> None:
    """What the campaign counts against this promise is nought."""
    figure = campaign["figures"][promise]
    assert figure["value"] == 0, json.dumps(figure["broken_ones"], indent=2)


def test_every_figure_is_asserted(campaign: dict[str, Any]) -> None:
    """No figure is counted that this test does not look at."""
    assert set(campaign["figures"]) == set(PROMISES)


def test_there_was_something_to_survive(campaign: dict[str, Any]) -> None:
    """Without kills of every sort, faults on the wire and refreshes of all kinds, nought means nothing."""
    totals = campaign["totals"]
    assert set(totals["kills_by_sort"]) >= {"worker", "supervisor", "beat", "postgres", "redis"}
    assert totals["kills"] >= 10
    assert totals["stops"] >= 1
    assert len(totals["faults_on_the_wire"]) >= 5
    assert all(count > 30 for count in totals["refreshes_by_kind"].values())
    assert len(totals["refreshes_by_kind"]) == 3
    failed = [deed for deed in campaign["schedule"] if "the harness failed" in (deed["skipped"] or "")]
    assert failed == []


def test_the_windows_were_measured(campaign: dict[str, Any]) -> None:
    """Both windows that no client can close have a width."""
    for name in ("check_to_sent_microseconds", "last_byte_to_commit_microseconds"):
        spread = campaign["windows"][name]
        assert spread["count"] >= 200
        assert 0 < spread["p50"] <= spread["p99"] <= spread["max"]
