"""What a tick costs that finds 1,000 due tokens, with few and with many stored; and publishing on its own.

    python -m benchmarks.scheduling [--stored 10000000] [--rounds 20]

Two databases of one Postgres, filled by Postgres itself, with every index; the product's own scheduler and
queue. Ten million tokens take about 10 GB of disk, given back at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from benchmarks.conditions import conditions
from benchmarks.load.deployment import ROOT, Deployment, opened
from benchmarks.scheduling import publishing, rounds
from benchmarks.scheduling.stores import Store

RESULT: Final = ROOT / "benchmarks" / "results" / "scheduling.json"
SMALL: Final = 10_000
PROVIDERS: Final = ("p0", "p1", "p2", "p3")
#: Tokens refreshed between two ticks of the last scenario: all that the small store has, its hour's worth.
DEAD: Final = 10_000
#: What the promise allows.
MOST_RATIO: Final = 1.3
LEAST_PER_SECOND: Final = 3000


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stored", type=int, default=10_000_000, help="tokens of the large store (10000000)")
    parser.add_argument("--rounds", type=int, default=20, help="of each scenario (20)")
    given = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-scheduling-") as folder, opened(Path(folder)) as made:
        result = _run(made, stored=given.stored, many=given.rounds)
    result = {
        "command": f"python -m benchmarks.scheduling --stored {given.stored} --rounds {given.rounds}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        **result,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _run(made: Deployment, *, stored: int, many: int) -> dict[str, Any]:
    made.define(dict.fromkeys(PROVIDERS, "http://127.0.0.1:9"), lifetime=3600)
    with (
        closing(Store(made, database="few", redis_database=1, stored=SMALL, providers=PROVIDERS)) as small,
        closing(Store(made, database="many", redis_database=2, stored=stored, providers=PROVIDERS)) as large,
    ):
        published = publishing.measure(small.app, rounds=5)
        found = {}
        for scenario in rounds.scenarios(DEAD):
            for store in (small, large):
                store.warm(scenario.choose(store, 0), scenario.work)
            found[scenario.name] = rounds.run(scenario, small, large, many)
        return {
            "due": rounds.DUE,
            "fill_seconds": {str(store.stored): store.fill_seconds for store in (small, large)},
            "publishing": {**published, "kept": published["per_second"]["evergrant"] >= LEAST_PER_SECOND},
            "ticks": {name: {**one, "kept": one["ratio"] <= MOST_RATIO} for name, one in found.items()},
            "bytes": {str(store.stored): store.sizes for store in (small, large)},
            "bytes_of_a_token": {
                str(store.stored): round(sum(store.sizes.values()) / store.stored) for store in (small, large)
            },
        }


if __name__ == "__main__":
    main()
