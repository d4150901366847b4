"""A task that waits as long as a provider's answer takes, in a worker like ours: what its slots can carry.

python -m benchmarks.throughput.sleeper NAME THREADS
"""

from __future__ import annotations

import os
import sys
import time

from pydantic import SecretStr

from benchmarks.load.endpoint import latency_of
from services.wiring import Servers
from workers import paced_events
from workers.celery_app import bare_app


def main() -> None:
    """Run until SIGTERM."""
    name, threads = sys.argv[1:]
    redis_url = SecretStr(os.environ["EVERGRANT_REDIS_URL"])
    app = bare_app("sleeper", Servers(SecretStr(""), redis_url, SecretStr("")))
    app.conf.imports = []
    latency = latency_of(
        p50_ms=float(os.environ["EVERGRANT_BENCH_P50_MS"]), p99_ms=float(os.environ["EVERGRANT_BENCH_P99_MS"])
    )
    assert latency is not None

    def wait(**_: object) -> None:
        time.sleep(latency())

    app.task(name="sleeper.wait")(wait)
    paced_events.use_in_worker(app)
    app.worker_main(
        ["worker", "-Q", "health", "-n", f"{name}@%h", "-c", threads, "--without-gossip", "--without-mingle",
         "--loglevel", "WARNING"]
    )  # fmt: skip


if __name__ == "__main__":
    main()
