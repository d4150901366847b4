"""Make a campaign of faults against real processes, and judge it from both sides.

    python -m benchmarks.chaos [--seed N] [--minutes M] [--short] [--output FILE] [--page FILE]

The exit status is 0 if every promise held, and 1 if one was broken. The seed repeats the schedule of faults,
not how they meet what the processes are doing.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog

from benchmarks.chaos import plan, table, windows
from benchmarks.chaos.collect import collect
from benchmarks.chaos.director import Director
from benchmarks.chaos.disk import SmallDisk
from benchmarks.chaos.figures import judged, totals
from benchmarks.chaos.processes import ROOT
from benchmarks.chaos.recovery import await_recovery
from benchmarks.chaos.world import SKEWS, World, opened
from benchmarks.conditions import conditions

RESULT = ROOT / "benchmarks" / "results" / "chaos.json"
PAGE = ROOT / "docs" / "reliability.md"


def main() -> int:
    """Run, judge, write the result and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the schedule of faults (1)")
    parser.add_argument("--minutes", type=float, help="of faults; 16, with --short a little under one")
    parser.add_argument("--short", action="store_true", help="a small campaign, for the test suite")
    parser.add_argument("--output", type=Path, help=f"the result's file ({RESULT.relative_to(ROOT)})")
    parser.add_argument("--page", type=Path, help="a page with the table's markers to write it into")
    parser.add_argument("--keep", type=Path, help="an empty folder to run in, which is left as it is")
    given = parser.parse_args()
    # So that whoever is asked to end takes along what he started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    dose = plan.SHORT if given.short else plan.FULL
    if given.minutes is not None:
        dose = plan.stretched(dose, given.minutes)
    command = f"python -m benchmarks.chaos --seed {given.seed}"
    command += " --short" if given.short else ""
    command += f" --minutes {given.minutes:g}" if given.minutes is not None else ""
    if given.keep is not None:
        result = _campaign(dose, given.keep, given.seed)
    else:
        with tempfile.TemporaryDirectory(prefix="evergrant-chaos-") as folder:
            result = _campaign(dose, Path(folder), given.seed)
    result = {"command": command, **result}
    output = given.output or (None if given.short else RESULT)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    page = given.page or (None if given.short else PAGE)
    if page is not None:
        table.insert(page, table.render(result))
    print(table.render(result))
    return 1 if result["broken"] else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _campaign(dose: plan.Dose, folder: Path, seed: int) -> dict[str, Any]:
    folder.chmod(0o700)
    # The one refresh worker that runs in this process measures, and need not tell.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.monotonic()
    with opened(dose, folder, seed) as world:
        disk = SmallDisk(world.data_b)
        disk.mount()
        try:
            return _run(world, disk, seed, started)
        finally:
            disk.unmount()


def _run(world: World, disk: SmallDisk, seed: int, started: float) -> dict[str, Any]:
    dose = world.dose
    before = conditions()
    widths = windows.measure(world)
    _say(f"windows measured after {time.monotonic() - started:.0f} s")
    world.start()
    _say(f"everything runs after {time.monotonic() - started:.0f} s; faults for {dose.seconds:g} s")
    began, ended = Director(world, disk, _say).run(plan.schedule(dose, seed))
    _say(f"the faults are over after {time.monotonic() - started:.0f} s")
    recovered, quiet = await_recovery(world, ended, _say)
    evidence = collect(world, began, ended, recovered=recovered)
    figures = judged(evidence)
    return {
        "seed": seed,
        "dose": dose.name,
        "minutes": round((ended - began) / 60, 1),
        "conditions": {
            **before,
            "load_average_at_the_end": conditions()["load_average"],
            "servers": world.servers.versions(),
        },
        "world": {
            "connections": dict(dose.connections),
            "access_token_seconds": list(dose.lifetime),
            "replay_window_seconds": dose.replay_window,
            "workers": [worker.name for worker in world.workers],
            "beats": [beat.name for beat in world.beats],
            "skewed_seconds": {name: skew for name, skew in SKEWS.items() if name in _names(world)},
            "full_disk": disk.how,
        },
        "seconds_to_recover": round(quiet, 1),
        "recovered": recovered,
        "totals": totals(evidence),
        "windows": widths,
        "figures": {figure.name: figure.as_json() for figure in figures},
        "broken": {figure.name: figure.value for figure in figures if figure.value},
        "schedule": [deed.__dict__ for deed in sorted(evidence.deeds, key=lambda deed: deed.began)],
    }


def _names(world: World) -> set[str]:
    return {worker.name for worker in world.workers}


if __name__ == "__main__":
    sys.exit(main())
