"""Another service asks by task name while the bulk queues are full behind slow providers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import redis

from tests.acceptance.asking import CHECK, REFRESH, Asking, PlainClient, prepare
from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import CHECKOUT, import_line, run_cli
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

NOBODY: Final = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def asking(deploy: Deploy) -> Iterator[Asking]:
    with (
        deploy(lifetime=(3600, 3600)) as deployment,
        redis.Redis.from_url(deployment.redis_url) as queues,
        PlainClient(deployment.redis_url) as client,
    ):
        for dialect in ("strict", "bing"):
            deployment.simulator.configure(dialect, latency=3000)
        deployment.beat()
        # Two threads for each of two providers that take three seconds, and two hundred tokens that are due.
        deployment.await_alive(deployment.bulk(threads=4), deployment.interactive())
        deployment.connect({"strict": 100, "bing": 100}, first_lifetime=(300, 400))
        eventually(lambda: queues.llen("refresh") >= 100, what="the bulk queue is full")
        # Only now: what is due among these waits at the end of that queue, for minutes.
        grants = prepare(deployment)
        rows = deployment.query("SELECT metadata->>'grant_id', id::text FROM connections")
        known = dict(rows)
        yield Asking(
            deployment, client, grants, {name: known[grant.grant_id] for name, grant in grants.items()}
        )
        assert queues.llen("refresh") > 0, "the bulk queue ran empty meanwhile"


def test_a_due_token_is_refreshed_by_connection_id(asking: Asking) -> None:
    """Named by its id, it is refreshed, and the answer tells the new expiry and version."""
    connection_id = asking.ids["stale"]
    before = datetime.now(UTC)
    result = asking.result(REFRESH, connection_id=connection_id, min_validity_seconds=600)

    assert (result["outcome"], result["connection_id"]) == ("refreshed", connection_id)
    assert (result["version"], result["error"], result["retry_at"]) == (2, None, None)
    left = datetime.fromisoformat(result["expires_at"]) - before
    assert timedelta(seconds=3500) < left < timedelta(seconds=3610)


def test_the_slow_provider_itself_is_asked_at_once(asking: Asking) -> None:
    """Even a token of the provider that everybody waits for is refreshed within five seconds."""
    connection_id = asking.ids["slow"]

    assert asking.result(REFRESH, connection_id=connection_id, force=True)["outcome"] == "refreshed"


def test_a_spent_refresh_token_is_never_taken_back(asking: Asking) -> None:
    """Once rotated away, the imported refresh token is known to be spent: importing it again, even to
    replace, is refused with its line's number, and the living grant is left alone."""
    asking.result(REFRESH, connection_id=asking.ids["slow"], force=True)
    line = import_line(asking.grants["slow"], "strict")
    for more in ((), ("--replace-credentials",)):
        again = run_cli(asking.deployment.environment, "connections", "import", "-", *more, stdin=line)
        assert (again.returncode, again.stdout) == (1, "1 lines: 1 rejected\n"), again.stderr
        assert "line 1: refresh_token: is known to be spent" in again.stderr
        assert "sim-rt-" not in again.stderr
    assert asking.at_the_provider("slow")["alive"]


def test_a_connection_is_named_by_user_and_provider(asking: Asking) -> None:
    """user_id and provider_id name it where there is one account; account_id tells several apart."""
    ids, names = asking.ids, {"user_id": "two-accounts", "provider_id": "gsc"}

    assert asking.result(REFRESH, user_id="alone", provider_id="gsc")["connection_id"] == ids["alone"]
    for account in ("first", "second"):
        assert asking.result(REFRESH, **names, account_id=account)["connection_id"] == ids[account]
    assert asking.result(REFRESH, **names, account_id="third")["outcome"] == "not_found"


def test_a_fresh_token_is_left_alone(asking: Asking) -> None:
    """Nothing is presented for a token that lives long enough; min_validity_seconds decides what is enough,
    and is capped at half the lifetime."""
    connection_id = asking.ids["fresh"]

    assert asking.result(REFRESH, connection_id=connection_id)["outcome"] == "fresh"
    assert asking.result(REFRESH, connection_id=connection_id, min_validity_seconds=900)["outcome"] == "fresh"
    assert asking.at_the_provider("fresh")["presentations"] == 0
    longer = asking.result(REFRESH, connection_id=connection_id, min_validity_seconds=1100)
    assert longer["outcome"] == "refreshed"
    capped = asking.result(REFRESH, connection_id=connection_id, min_validity_seconds=86400)
    assert (capped["outcome"], capped["version"]) == ("fresh", 2)
    assert asking.at_the_provider("fresh")["presentations"] == 1


def test_if_version_refreshes_that_version_alone(asking: Asking) -> None:
    """What is sent after a 401: the version that failed is refreshed, a version that is gone is not."""
    connection_id = asking.ids["failed with 401"]

    first = asking.result(REFRESH, connection_id=connection_id, if_version=1)
    assert (first["outcome"], first["version"]) == ("refreshed", 2)
    late = asking.result(REFRESH, connection_id=connection_id, if_version=1)
    assert (late["outcome"], late["version"]) == ("fresh", 2)


def test_force_skips_freshness_and_nothing_else(asking: Asking) -> None:
    """A forced refresh happens although the token is fresh; a second one waits for the minimum interval."""
    connection_id = asking.ids["forced"]

    assert asking.result(REFRESH, connection_id=connection_id, force=True)["outcome"] == "refreshed"
    again = asking.result(REFRESH, connection_id=connection_id, force=True)
    assert (again["outcome"], again["error"]["code"]) == ("deferred", "minimum_interval")
    wait = datetime.fromisoformat(again["retry_at"]) - datetime.now(UTC)
    assert timedelta(seconds=30) < wait <= timedelta(seconds=60)


def test_a_crowd_for_one_token_causes_one_presentation(asking: Asking) -> None:
    """Four callers at once, five times each, for one stale token of a single-use grant: one presentation,
    and all are served by it."""
    kwargs = {"connection_id": asking.ids["wanted by a crowd"], "min_validity_seconds": 600}
    with ExitStack() as crowd:
        clients = [crowd.enter_context(PlainClient(asking.deployment.redis_url)) for _ in range(4)]
        for client in clients:
            for _ in range(5):
                client.send(REFRESH, kwargs)
        results = [client.receive()["result"] for client in clients for _ in range(5)]

    assert {result["outcome"] for result in results} <= {"refreshed", "fresh"}, results
    assert {result["version"] for result in results} == {2}
    grant = asking.at_the_provider("wanted by a crowd")
    assert (grant["presentations"], grant["alive"]) == (1, True)


def test_what_cannot_be_refreshed_says_so(asking: Asking) -> None:
    """A token that never expires is not refreshable; an unknown connection is not found; a revoked grant
    needs its user."""
    never = asking.result(REFRESH, connection_id=asking.ids["never expires"])
    assert never["outcome"] == "not_refreshable"
    assert never["expires_at"] is None
    assert asking.result(REFRESH, connection_id=NOBODY)["outcome"] == "not_found"
    assert asking.result(REFRESH, user_id="nobody", provider_id="gsc")["outcome"] == "not_found"
    assert asking.result(REFRESH, user_id="nobody", provider_id="no-such")["outcome"] == "not_found"

    connection_id = asking.ids["revoked"]
    asking.revoke("revoked")
    for force in (True, False):
        refused = asking.result(REFRESH, connection_id=connection_id, force=force)
        assert (refused["outcome"], refused["error"]["code"]) == ("needs_reauth", "grant_rejected")


def test_a_check_tells_whether_the_token_lives(asking: Asking) -> None:
    """A living token is healthy; an unknown connection is not found; a refused one of a refreshable
    connection is deferred to a refresh, which then tells the truth."""
    healthy = asking.result(CHECK, connection_id=asking.ids["checked"])
    assert (healthy["outcome"], healthy["error"]) == ("healthy", None)
    assert abs(datetime.fromisoformat(healthy["checked_at"]) - datetime.now(UTC)) < timedelta(seconds=30)
    assert asking.result(CHECK, connection_id=NOBODY)["outcome"] == "not_found"
    assert asking.result(CHECK, user_id="nobody", provider_id="gsc")["outcome"] == "not_found"

    asking.revoke("checked and revoked")
    refused = asking.result(CHECK, connection_id=asking.ids["checked and revoked"])
    assert refused["outcome"] == "deferred"


def test_two_refused_checks_end_a_token_that_cannot_be_refreshed(asking: Asking) -> None:
    """One refused check of a token without refresh asks again; the second one needs the user."""
    asking.revoke("checked twice")
    names = {"user_id": "checked twice", "provider_id": "wordpress"}

    assert [asking.result(CHECK, **names)["outcome"] for _ in range(3)] == [
        "deferred", "needs_reauth", "needs_reauth",
    ]  # fmt: skip


WRONG: Final[list[tuple[str, dict[str, object], str]]] = [
    (REFRESH, {}, "connection_id"),
    (REFRESH, {"user_id": "u"}, "provider_id"),
    (REFRESH, {"connection_id": "not-an-id"}, "connection_id"),
    (REFRESH, {"connection_id": NOBODY, "min_validity_seconds": -1}, "min_validity_seconds"),
    (REFRESH, {"connection_id": NOBODY, "min_validity_seconds": "soon"}, "min_validity_seconds"),
    (REFRESH, {"connection_id": NOBODY, "if_version": "3"}, "if_version"),
    (REFRESH, {"connection_id": NOBODY, "force": "yes"}, "force"),
    (REFRESH, {"connection_id": NOBODY, "forse": True}, "forse"),
    (REFRESH, {"connection_id": NOBODY, "access_token": "s3cret-value"}, "access_token"),
    (REFRESH, {"user_id": 7, "provider_id": "gsc"}, "user_id"),
    (CHECK, {}, "connection_id"),
    (CHECK, {"connection_id": NOBODY, "force": True}, "force"),
]


def test_a_wrong_argument_is_named(asking: Asking) -> None:
    """Wrong, missing and unknown arguments fail with a message that names the argument and not its value."""
    for task, kwargs, name in WRONG:
        answer = asking.ask(task, **kwargs)
        assert answer.get("raised") == "InvalidArguments", (task, kwargs, answer)
        assert name in answer["message"], (task, kwargs, answer)
        assert "s3cret-value" not in answer["message"]
        assert "not-an-id" not in answer["message"]


def test_the_example_of_the_readme_runs(asking: Asking) -> None:
    """The README's program, as it stands there, prints the outcome."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    programs = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "send_task" in code]
    assert len(programs) == 1
    done = subprocess.run(
        [sys.executable, "-I", "-c", programs[0]],
        env={"EVERGRANT_REDIS_URL": asking.deployment.redis_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "fresh"
