"""Real workers find their database put back to an older state."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.acceptance.conftest import Deploy
from tests.acceptance.deployment import Deployment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.servers]

_TABLES = ("tokens", "activity")


def copy_rows(deployment: Deployment, *, back: bool) -> None:
    """Keep the rows of now, or put the kept ones in the place of those of now."""
    with psycopg.connect(deployment.database_url) as connection:
        for table in _TABLES:
            if back:
                connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - tests' own words
                connection.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}".encode()  # noqa: S608 - tests' own words
                )
            else:
                connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}".encode())


def alerts(deployment: Deployment) -> list[str]:
    return [row["cause"] for row in deployment.rows("alerts") if row["status"] == "open"]


def presentations(deployment: Deployment, grants: list[str]) -> int:
    return sum(int(deployment.simulator.grant(name)["presentations"]) for name in grants)


def test_an_older_state_waits_for_an_answer(deploy: Deploy) -> None:
    """Whoever rotates is left alone by workers that have just started, the others are refreshed; one alert.
    After the answer each old token is tried once and told as lost."""
    with deploy(lifetime=(20, 25)) as deployment:
        strict = [grant.grant_id for grant in deployment.connect({"strict": 3})]
        plain = [grant.grant_id for grant in deployment.connect({"gsc": 3})]
        workers = [deployment.bulk(), deployment.interactive()]
        deployment.beat()
        copy_rows(deployment, back=False)
        deployment.await_versions(2, strict + plain)
        for worker in workers:
            worker.end()
        copy_rows(deployment, back=True)
        spent = presentations(deployment, strict)
        versions = deployment.versions()
        deployment.await_alive(deployment.bulk("again"), deployment.worker("asked", "on_demand,control"))

        deployment.await_versions(max(versions[name] for name in plain) + 1, plain)
        eventually(lambda: alerts(deployment) == ["deployment:restored"], what="the alert")
        wanted = deployment.query("SELECT connection_id FROM tokens WHERE provider_id = 'strict' LIMIT 1")
        answer = json.loads(deployment.cli("refresh", str(wanted[0][0]), "--wait", status=1))
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "restore_guard")
        assert presentations(deployment, strict) == spent

        assert "put in doubt" in deployment.cli("doctor", "--after-restore", "--yes")
        eventually(
            lambda: [cause.endswith("needs_reauth") for cause in alerts(deployment)] == [True] * len(strict),
            what="each is told as lost",
        )
        reasons = deployment.query("SELECT reauth_reason FROM tokens WHERE provider_id = 'strict'")
        assert reasons == [("rotation_probably_lost",)] * len(strict)
        assert presentations(deployment, strict) == spent + len(strict)
