"""A deployment seen from another machine: through a relay that adds a round trip to Postgres or Redis."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import psycopg
import redis

from benchmarks.load.deployment import Deployment, await_true, stop
from workers.supervision.ports import LOOPBACK, accepts_connections, free_port

_VARIABLES: Final = {"postgres": "EVERGRANT_DATABASE_URL", "redis": "EVERGRANT_REDIS_URL"}
_START_SECONDS: Final = 30.0


@contextmanager
def far_away(
    deployment: Deployment, round_trip: float, servers: tuple[str, ...] = ("postgres", "redis")
) -> Iterator[Mapping[str, str]]:
    """Give the environment of a worker that has these servers so many seconds away."""
    environment = dict(deployment.environment)
    pairs = []
    for server in servers:
        url = urlsplit(environment[_VARIABLES[server]])
        if url.port is None:
            raise AssertionError("unreachable: the embedded servers' URLs name their ports")
        near = free_port()
        pairs.append((near, url.port))
        moved = url._replace(netloc=url.netloc.replace(f"{LOOPBACK}:{url.port}", f"{LOOPBACK}:{near}"))
        environment[_VARIABLES[server]] = moved.geturl()
    maps = [word for near, port in pairs for word in ("--map", f"{near}:{port}")]
    relay = deployment.run(
        [sys.executable, "-m", "benchmarks.load.relay", "--delay", str(round_trip), *maps], name="relay"
    )
    try:
        for near, _ in pairs:
            await_true(lambda near=near: accepts_connections(near), _START_SECONDS, "the relay did not start")  # type: ignore[misc]  # mypy infers no lambda with a default
        yield environment
    finally:
        stop(relay)


def exchange_ms(environment: Mapping[str, str], server: str) -> float:
    """Return how long one question and its answer take from such a worker, in ms: the median of a hundred."""
    taken = []
    if server == "redis":
        with redis.Redis.from_url(environment[_VARIABLES[server]]) as client:
            for _ in range(100):
                began = time.perf_counter()
                client.ping()
                taken.append(time.perf_counter() - began)
    else:
        with psycopg.connect(environment[_VARIABLES[server]], autocommit=True) as connection:
            for _ in range(100):
                began = time.perf_counter()
                connection.execute("SELECT 1")
                taken.append(time.perf_counter() - began)
    return median(taken) * 1000
