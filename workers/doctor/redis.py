"""The doctor's look at Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tasks.names import QUEUES
from workers.doctor.finding import Finding, fail, ok, warn

LEAST_VERSION: Final = (6, 2)


def examine_redis(url: SecretStr) -> Iterator[Finding]:
    """Look at reachability, version, durability and what waits in the queues."""
    try:
        client = Redis.from_url(url.get_secret_value(), socket_timeout=3, socket_connect_timeout=3)
    except ValueError as error:
        yield fail("redis", f"EVERGRANT_REDIS_URL cannot be used: {error}", "mend the URL")
        return
    with client:
        try:
            info = client.info()
        except RedisError as error:
            yield fail(
                "redis", f"does not answer: {type(error).__name__}",
                "start Redis, or check host, port and password in EVERGRANT_REDIS_URL",
            )  # fmt: skip
            return
        yield _version(str(info["redis_version"]))
        yield from _durability(client, info)
        yield from _queues(client)


def _version(version: str) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < LEAST_VERSION:
        return fail("redis", f"is version {version}", "install Redis or Valkey 6.2 or newer")
    return ok("redis", f"answers, version {version}")


def _durability(client: Redis, info: dict[str, Any]) -> Iterator[Finding]:
    if not int(info.get("aof_enabled", 0)):
        yield warn(
            "redis durability", "appends nothing to disk",
            "set appendonly yes; without it a restart forgets queued on-demand tasks",
        )  # fmt: skip
    try:
        policy = cast("dict[str, str]", client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except ResponseError:
        # Hosted Redis often refuses CONFIG; INFO then tells the policy too.
        policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield warn(
            "redis eviction", f"maxmemory-policy is {policy}",
            "set maxmemory-policy noeviction, or queues disappear when memory runs out",
        )  # fmt: skip


def _queues(client: Redis) -> Iterator[Finding]:
    waiting = {name: client.llen(name) for name in QUEUES}
    yield ok("queues", ", ".join(f"{name} {count}" for name, count in waiting.items()))
