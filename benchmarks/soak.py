"""Does a worker grow: memory, threads, files and sessions of one process over many thousand tasks.

    python -m benchmarks.soak [--tasks 200000] [--threads 8] [--tokens 20000]

One real bulk worker, fed as the scheduler feeds it, on two providers: one answers every call, the other one
has tenants, of which there are always new ones, and fails a part of its calls in ways that kill grants and in
ways that do not. Once a second everything that could grow is looked at. Judged is the last quarter against
the end of the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.conditions import conditions
from benchmarks.load import store
from benchmarks.load.deployment import ROOT, Deployment, opened, stop
from benchmarks.load.footprint import Scales
from benchmarks.load.growth import Sample, judged
from benchmarks.load.waves import Piece, Waves
from services.settings import Settings
from tasks.names import REFRESH
from workers.embedded.layout import DataFolder
from workers.signs_of_life import age, heartbeat_file

RESULT: Final = ROOT / "benchmarks" / "results" / "soak.json"
PLAIN: Final = "plain"
TENANTED: Final = "tenanted"
#: Of the tenanted provider's calls: half of them sentence the grant, half are failures to retry.
_TROUBLES: Final = ("400:invalid_grant=0.05", "503=0.05")
#: Tokens of one tenant that follow each other; then comes the next one, and none comes again.
_OF_A_TENANT: Final = 5
#: The queue is filled up by so many messages when it is less deep than that.
_PIECE: Final = 500
_LEAST_DEPTH: Final = 2000
_LOOK_SECONDS: Final = 1.0
_STALLED_SECONDS: Final = 60.0
_NAME: Final = "soaked"
_KINDS: Final = "SELECT kind, coalesce(code, ''), count(*) FROM activity GROUP BY 1, 2 ORDER BY 3 DESC"
_LEFT: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'evergrant-%%'"


def main() -> None:
    """Run, write the result, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=8, help="of the worker (8)")
    parser.add_argument("--tokens", type=int, default=20_000, help="that are refreshed in turn (20000)")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the result is written")
    given = parser.parse_args()
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="evergrant-soak-") as folder, opened(Path(folder)) as made:
        soak = Soak(made, tasks=given.tasks, threads=given.threads, tokens=given.tokens)
        try:
            soak.run()
            measured = soak.result()
        finally:
            soak.close()
    result = {
        "command": f"python -m benchmarks.soak --tasks {given.tasks} --threads {given.threads}"
        f" --tokens {given.tokens}",
        "conditions": {**before, "load_average_at_the_end": conditions()["load_average"]},
        **measured,
    }
    given.result.parent.mkdir(exist_ok=True)
    given.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("rate_per_second", "judged", "came_to")}, indent=2))


class Soak:
    """One worker, fed until it has had so many tasks."""

    def __init__(self, deployment: Deployment, *, tasks: int, threads: int, tokens: int) -> None:
        self._made = deployment
        self._tasks = tasks
        self._threads = threads
        well, _ = deployment.endpoint()
        ill, _ = deployment.endpoint(*(word for trouble in _TROUBLES for word in ("--answer", trouble)))
        deployment.define(
            {PLAIN: well, TENANTED: ill}, lifetime=3600, more='max_concurrency = 200\ntenant_field = "blog"'
        )
        deployment.migrate()
        providers = [PLAIN, TENANTED]
        self._ids = store.fill(
            deployment.servers.postgres.url, deployment.keys, providers, tokens,
            lifetime=timedelta(hours=1), due_in=timedelta(hours=1),
        )  # fmt: skip
        self._redis = redis.Redis.from_url(deployment.servers.redis.url)
        self._waves = Waves(deployment)
        self._pieces = self._endless()
        self._published = 0
        self._samples: list[Sample] = []
        self._keys: list[tuple[int, dict[str, int]]] = []
        self._left: dict[str, Any] = {}

    def _endless(self) -> Iterator[Piece]:
        """Give every token again and again, those of the second provider each time in a tenant of its own."""
        number = 0
        while True:
            for place, connection_id in enumerate(self._ids):
                if place % 2:
                    number += 1
                    yield Piece(connection_id, TENANTED, f"blog-{number // _OF_A_TENANT}")
                else:
                    yield Piece(connection_id, PLAIN)

    def run(self) -> None:
        """Start the worker, have it carry out all tasks, stop it, and see what it leaves.

        Raises:
            SystemExit: Nothing left the queue for a minute.
        """
        self._fill_up()
        worker = self._made.worker(_NAME, "refresh,health", self._threads)
        spool = Settings(data_dir=self._made.data).spool_dir
        scales = Scales(worker.pid, self._made.servers.postgres.url, self._redis, spool)
        try:
            self._watch(worker, scales)
        finally:
            stop(worker)
            scales.close()
        self._left = {
            "exit_status": worker.returncode,
            "sessions": self._made.servers.query(_LEFT)[0][0],
            "spool": sorted(path.suffix or path.name for path in spool.iterdir()),
            "processes_not_gone": self._made.servers.query(
                "SELECT count(*) FROM processes WHERE gone_at IS NULL"
            )[0][0],
        }

    def _watch(self, worker: subprocess.Popen[bytes], scales: Scales) -> None:
        alive = heartbeat_file(DataFolder(self._made.data), _NAME)
        began = next_look = moved_at = time.monotonic()
        last_depth = -1
        while worker.poll() is None:
            depth = self._fill_up()
            now = time.monotonic()
            if depth != last_depth:
                last_depth, moved_at = depth, now
            if now - moved_at > _STALLED_SECONDS:
                raise SystemExit("the worker takes no tasks any more")
            if now >= next_look:
                next_look = now + _LOOK_SECONDS
                beat = age(alive)
                self._samples.append(
                    Sample(
                        seconds=now - began,
                        done=self._published - depth,
                        beat_age=None if beat is None else beat.total_seconds(),
                        held=scales.weigh(),
                    )
                )
                self._note_keys(scales)
            if depth == 0 and self._published == self._tasks:
                return
            time.sleep(0.05)
        raise SystemExit(f"the worker has ended with status {worker.returncode}")

    def _fill_up(self) -> int:
        """Publish where there is room; return how many messages wait."""
        depth = int(self._redis.llen(REFRESH))
        wanted = min(_PIECE, self._tasks - self._published)
        if depth < _LEAST_DEPTH and wanted:
            self._waves.publish(list(islice(self._pieces, wanted)))
            self._published += wanted
            depth += wanted
        return depth

    def _note_keys(self, scales: Scales) -> None:
        """Note the forms of the keys at each eighth of the way."""
        done = self._samples[-1].done
        if done >= len(self._keys) * self._tasks / 8:
            self._keys.append((done, scales.keys()))

    def result(self) -> dict[str, Any]:
        """Return what was seen, and what is made of it."""
        last = self._samples[-1]
        lived = (self._published / len(self._ids)) if self._ids else 0.0
        return {
            "tasks": self._published,
            "tokens": len(self._ids),
            "tenants": int(lived * (len(self._ids) // 2)) // _OF_A_TENANT,
            "threads": self._threads,
            "seconds": round(last.seconds, 1),
            "rate_per_second": round(last.done / last.seconds, 1),
            "came_to": [
                {"kind": kind, "code": code, "count": count}
                for kind, code, count in self._made.servers.query(_KINDS)
            ],
            "judged": judged(self._samples, self._tasks, keys=[forms for _, forms in self._keys]),
            "left_behind": self._left,
            "redis_keys": [{"done": done, "forms": forms} for done, forms in self._keys],
            "samples": [_rounded(sample) for sample in thinned(self._samples)],
        }

    def close(self) -> None:
        """Close what was opened to look and to publish."""
        self._waves.close()
        self._redis.close()


def thinned(samples: list[Sample], most: int = 120) -> list[Sample]:
    """Return every n-th sample, so that a result stays readable."""
    return samples[:: max(1, -(-len(samples) // most))]


def _rounded(sample: Sample) -> dict[str, float | None]:
    flat = {
        "seconds": sample.seconds,
        "done": sample.done,
        "beat_age": sample.beat_age,
        **asdict(sample.held),
    }
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in flat.items()}


if __name__ == "__main__":
    main()
