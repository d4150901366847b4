"""Another team's side: a plain client, connections to ask for, and the shapes that answers must have."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from simulator.client import MintedGrant
from tests.acceptance.deployment import Deployment, import_line
from tests.acceptance.provider_file import DIALECTS

REFRESH: Final = "evergrant.refresh_token"
CHECK: Final = "evergrant.check_token"
#: What the contract promises of each result, with the type of each field where it is not null.
REFRESH_FIELDS: Final[dict[str, type]] = {
    "outcome": str, "connection_id": str, "expires_at": str, "version": int, "retry_at": str, "error": dict,
}  # fmt: skip
CHECK_FIELDS: Final[dict[str, type]] = {
    "outcome": str,
    "connection_id": str,
    "checked_at": str,
    "error": dict,
}


#: The connections that the tests use up, by name: provider and seconds of life left.
PREPARED: Final = {
    "stale": ("gsc", 30),
    "slow": ("strict", 1000),
    "alone": ("gsc", 1000),
    "fresh": ("gsc", 1000),
    "failed with 401": ("gsc", 1000),
    "forced": ("gsc", 3500),
    "wanted by a crowd": ("strict", 30),
    "never expires": ("wordpress", None),
    "revoked": ("gsc", 1000),
    "checked": ("gsc", 1000),
    "checked and revoked": ("gsc", 1000),
    "checked twice": ("wordpress", None),
    "user-42": ("gsc", 1000),
}


class PlainClient:
    """One run of the other team's program."""

    def __init__(self, redis_url: str) -> None:
        self._process = subprocess.Popen(
            # Isolated: neither the checkout nor PYTHONPATH is where it looks for modules.
            [sys.executable, "-I", str(Path(__file__).with_name("plain_client.py"))],
            env={"EVERGRANT_REDIS_URL": redis_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, task: str, kwargs: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"task": task, "kwargs": kwargs}) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)


@dataclass
class Asking:
    """A deployment whose bulk queues are full, and a client that knows nothing of it but Redis."""

    deployment: Deployment
    client: PlainClient
    grants: dict[str, MintedGrant]
    ids: dict[str, str]

    def ask(self, task: str, **kwargs: object) -> dict[str, Any]:
        """Send a task; the answer must be there within five seconds."""
        self.client.send(task, kwargs)
        answer = self.client.receive()
        assert answer["seconds"] < 5, answer
        return answer

    def result(self, task: str, **kwargs: object) -> dict[str, Any]:
        answer = self.ask(task, **kwargs)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        assert_shape(result, REFRESH_FIELDS if task == REFRESH else CHECK_FIELDS)
        return result

    def at_the_provider(self, name: str) -> dict[str, Any]:
        """Give what the provider knows of a prepared connection's grant."""
        shown: dict[str, Any] = self.deployment.simulator.grant(self.grants[name].grant_id)
        return shown

    def revoke(self, name: str) -> None:
        self.deployment.simulator.revoke([self.grants[name].grant_id])


def assert_shape(result: dict[str, Any], fields: dict[str, type]) -> None:
    __tracebackhide__ = True
    assert set(result) == set(fields)
    for name, kind in fields.items():
        assert result[name] is None or isinstance(result[name], kind), (name, result)
    if result["error"] is not None:
        assert set(result["error"]) == {"code", "message"}, result
    for name in ("expires_at", "retry_at", "checked_at"):
        if result.get(name) is not None:
            assert datetime.fromisoformat(result[name]).utcoffset() == timedelta(0)
    assert "sim-at-" not in str(result)
    assert "sim-rt-" not in str(result)


def prepare(deployment: Deployment) -> dict[str, MintedGrant]:
    """Import the connections that the tests use up, each of a user of its name."""
    grants: dict[str, MintedGrant] = {}
    lines = []
    for name, (provider_id, life_left) in PREPARED.items():
        order: dict[str, object] = {"owner": deployment.owner, "user": name}
        if life_left is not None:
            order |= {"lifetime": 3600, "first_lifetime": life_left}
        grants[name] = deployment.simulator.mint(DIALECTS[provider_id], 1, **order)[0]
        lines.append(import_line(grants[name], provider_id))
    for account in ("first", "second"):
        grants[account] = deployment.simulator.mint("google", 1, owner=deployment.owner)[0]
        lines.append(import_line(grants[account], "gsc", user_id="two-accounts", account_id=account))
    deployment.cli("connections", "import", "-", stdin="".join(lines))
    return grants
