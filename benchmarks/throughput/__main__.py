"""How many refreshes a second two workers carry, as a share of Celery's own bound on the same machine.

    python -m benchmarks.throughput [--rounds 3] [--messages 12000] [--threads 16] [--workers 2] [--slow]

Messages are published beforehand; each contender empties its queue with the same broker, database and token
endpoint, in turn, round by round. The yardstick is unmodified Celery with a task that does nothing: with the
settings of a worker that loses no task and can be watched, as ours is, and with Celery's defaults.

With `--slow` the endpoint takes as long as real ones, and the yardstick is a task that sleeps as long in a
worker like ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.conditions import conditions
from benchmarks.load.deployment import ROOT, opened
from benchmarks.throughput.contest import Contest

RESULTS: Final = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=12_000, help="of one drain (12000)")
    parser.add_argument("--threads", type=int, default=16, help="of one worker of ours (16)")
    parser.add_argument("--workers", type=int, default=2, help="processes of every contender (2)")
    parser.add_argument("--slow", action="store_true", help="with an endpoint as slow as real ones")
    parser.add_argument("--only", default="", help="contenders, comma-separated; the result is not written")
    given = parser.parse_args(arguments)
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-throughput-") as folder, opened(Path(folder)) as made:
        contest = Contest(made, given.messages, given.threads, given.workers, slow=given.slow)
        wanted = given.only.split(",") if given.only else list(contest.contenders)
        rounds: list[dict[str, Any]] = []
        for number in range(given.rounds):
            for name in wanted:
                drained = contest.contenders[name]().as_json()
                rounds.append({"round": number + 1, "contender": name, **drained})
                print(rounds[-1], file=sys.stderr, flush=True)
    result = {
        "command": f"python -m benchmarks.throughput --rounds {given.rounds} --messages {given.messages}"
        f" --threads {given.threads} --workers {given.workers}{' --slow' if given.slow else ''}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        "rounds": rounds,
        "medians": compared(rounds, "sleeper" if given.slow else "stock_noop"),
    }
    if not given.only:
        file = RESULTS / ("throughput_slow.json" if given.slow else "throughput.json")
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["medians"], indent=2))


def compared(rounds: list[dict[str, Any]], yardstick: str) -> dict[str, Any]:
    """Return each contender's median rate, processor time, and ratio to the yardstick of the same round."""
    noop = {one["round"]: one["per_second"] for one in rounds if one["contender"] == yardstick}
    found = {}
    for name in dict.fromkeys(one["contender"] for one in rounds):
        own = [one for one in rounds if one["contender"] == name]
        found[name] = {
            "per_second": median(one["per_second"] for one in own),
            f"ratio_to_{yardstick}": round(
                median(one["per_second"] / noop[one["round"]] for one in own if one["round"] in noop), 3
            )
            if noop
            else None,
            "cpu_ms": {
                group: round(median(one["cpu_ms"][group] for one in own), 3) for group in own[0]["cpu_ms"]
            },
        }
    return found


if __name__ == "__main__":
    main()
