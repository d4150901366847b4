"""What more worker processes bring, what a refresh costs each server, and what a network between them costs.

    python -m benchmarks.scale_out [--rounds 3] [--messages 6000] [--stored 100000] [--lines 1000000]

Three parts, each of drains whose messages are published beforehand and set free when all workers stand:
one, two, four and eight processes in turn; what a refresh writes to the WAL right after a checkpoint, when
every page that it touches is written whole, and later; and one worker whose Postgres and Redis are a
network's round trip away (`benchmarks.load.relay`). The tokens of a drain are drawn from all that are stored,
so that they lie on pages of their own, as those of a large deployment do. The tables of docs/scaling.md are
written from the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.conditions import conditions
from benchmarks.load.arithmetic import insert, render
from benchmarks.load.deployment import ROOT, opened
from benchmarks.load.draining import Drains, Fleet
from benchmarks.load.far import exchange_ms, far_away
from benchmarks.load.verdict import compared, next_bounds

RESULT: Final = ROOT / "benchmarks" / "results" / "scale_out.json"
PAGE: Final = ROOT / "docs" / "scaling.md"
#: Processes → threads of each. Past the cores more threads would only take the interpreter from each other.
FLEETS: Final = {1: 16, 2: 8, 4: 4, 8: 4}
#: Seconds of a round trip, of one worker with so many threads, and which servers are that far away.
DISTANCES: Final = (
    *((trip, threads, ("postgres", "redis")) for threads in (8, 32) for trip in (0.0, 0.001, 0.005)),
    (0.005, 8, ("postgres",)),
    (0.005, 8, ("redis",)),
)
PARTS: Final = ("processes", "wal", "distance")


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=6000, help="of one drain (6000)")
    parser.add_argument("--stored", type=int, default=100_000, help="tokens that are stored (100000)")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of activity before (1000000)")
    parser.add_argument("--only", default="", help="parts, comma-separated; the result is not written")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the result is written")
    parser.add_argument("--page", type=Path, default=PAGE, help="into which the tables are put")
    given = parser.parse_args()
    before = conditions()
    parts = given.only.split(",") if given.only else list(PARTS)
    with tempfile.TemporaryDirectory(prefix="evergrant-scale-out-") as folder, opened(Path(folder)) as made:
        drains = Drains(made, messages=given.messages, stored=given.stored, lines=given.lines)
        run = {"processes": processes, "wal": wal, "distance": distance}
        measured: dict[str, list[dict[str, Any]]] = {
            part: [_told(row) for row in run[part](drains, given.rounds)] for part in parts
        }
        sizes = drains.ledger.sizes()
    result = {
        "command": f"python -m benchmarks.scale_out --rounds {given.rounds} --messages {given.messages}"
        f" --stored {given.stored} --lines {given.lines}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        **summed_up(measured),
        "sizes": sizes,
        "rounds": measured,
    }
    if not given.only:
        given.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        insert(given.page, render(result))
    print(json.dumps({name: part for name, part in result.items() if name != "rounds"}, indent=2))


def _told(row: dict[str, Any]) -> dict[str, Any]:
    print(row, file=sys.stderr, flush=True)
    return row


def processes(drains: Drains, rounds: int) -> Iterator[dict[str, Any]]:
    """Drain with each fleet in turn, round by round."""
    for number in range(rounds):
        for workers, threads in FLEETS.items():
            drained = drains.drain(Fleet(workers, threads))
            yield {"round": number + 1, "workers": workers, "threads": threads, **drained}


def wal(drains: Drains, _rounds: int) -> Iterator[dict[str, Any]]:
    """Drain after a checkpoint, and the same tokens again without one; plain and with compressed WAL.

    Once: bytes hardly differ between rounds.
    """
    for compression in ("off", "pglz"):
        drains.compress(compression)
        ids = drains.drawn()
        for pages in ("first_touched", "touched_before"):
            drained = drains.drain(Fleet(2, 8), ids=ids, cold=pages == "first_touched")
            yield {"round": 1, "compression": compression, "pages": pages, **drained}
    drains.compress("off")


def distance(drains: Drains, rounds: int) -> Iterator[dict[str, Any]]:
    """Drain with one worker whose servers are a round trip away; a relay that adds nothing is among them."""
    for number in range(min(rounds, 2)):
        for trip, threads, servers in DISTANCES:
            with far_away(drains.deployment, trip, servers) as environment:
                measured = {server: round(exchange_ms(environment, server), 2) for server in servers}
                drained = drains.drain(Fleet(1, threads, environment))
            yield {
                "round": number + 1,
                "round_trip_ms": trip * 1000,
                "threads": threads,
                "far": list(servers),
                "exchange_ms": measured,
                **drained,
            }


def summed_up(measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians of each part, and what they say."""
    found: dict[str, Any] = {}
    if rows := measured.get("processes"):
        found["processes"] = compared(rows, by=("workers", "threads"))
        found["what_is_next"] = next_bounds(found["processes"])
    if rows := measured.get("wal"):
        found["wal"] = compared(rows, by=("compression", "pages"))
    if rows := measured.get("distance"):
        found["distance"] = compared(rows, by=("far", "round_trip_ms", "threads"))
    return found


if __name__ == "__main__":
    main()
