"""Processes of callers (`benchmarks.load.callers`), and what all of them met together."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.chaos.figure import percentile
from benchmarks.load.deployment import ROOT, Deployment


class Callers:
    """Processes of callers of one kind."""

    def __init__(self, deployment: Deployment, kind: str, count: int, stack: ExitStack) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load.callers", kind], env=deployment.environment, cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(count)
        ]  # fmt: skip
        for process in self._processes:
            stack.callback(_end, process)
        for process in self._processes:
            _read(process)

    def ask(
        self, how: str, ids: list[str], callers: int, *, apart: float = 0.0, force: bool = False
    ) -> dict[str, Any]:
        """Let so many callers ask, spread over the processes; what they met."""
        share = callers // len(self._processes)
        at = time.monotonic() + 0.5
        for number, process in enumerate(self._processes):
            assert process.stdin is not None
            order = {"how": how, "ids": ids[number * share :] if force else ids, "callers": share, "at": at,
                     "apart": apart, "force": force}  # fmt: skip
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        heard = [_read(process) for process in self._processes]
        seconds = [each for one in heard for each in one["seconds"]]
        outcomes: dict[str, int] = {}
        for one in heard:
            for outcome, times in one["outcomes"].items():
                outcomes[outcome] = outcomes.get(outcome, 0) + times
        return {"callers": len(seconds), "outcomes": outcomes, **_quantiles(seconds)}


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of callers ended early")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _quantiles(seconds: list[float]) -> dict[str, float]:
    names = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "worst_ms": 1.0}
    return {name: round((percentile(seconds, part) or 0.0) * 1000, 1) for name, part in names.items()}
