"""Facts about docker-compose.yml that need no Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose
from tests.deploy.compose import FILE, FILLED, ROOT, VariableMissing, application, document, interpolated

SERVICES = document()["services"]
OURS = sorted(name for name, service in SERVICES.items() if compose.is_ours(service))
SERVERS = sorted(set(SERVICES) - set(OURS))
#: Longer than the longest task.
WORKER_GRACE_SECONDS = 60


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )


def test_file_follows_the_compose_specification(tmp_path: Path) -> None:
    """The published schema accepts the file, and rejects it with a key that Compose does not know."""
    spoilt = tmp_path / "docker-compose.yml"
    spoilt.write_text(FILE.read_text(encoding="utf-8").replace("stop_grace_period", "stop_grace"), "utf-8")

    accepted, refused = validate(FILE), validate(spoilt)

    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert refused.returncode == 1
    assert "stop_grace" in refused.stdout


def test_services_are_the_ones_that_a_deployment_needs() -> None:
    """Two servers, and migrate, two workers, beat and Flower of ours."""
    assert SERVERS == ["postgres", "redis"]
    assert OURS == ["api", "beat", "flower", "migrate", "worker-bulk", "worker-control", "worker-on-demand"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_lasting_service_has_a_health_check_and_restarts(name: str) -> None:
    """What keeps running is asked whether it works, with time for its start, and comes back after a crash."""
    service = SERVICES[name]

    assert service["healthcheck"]["test"]
    assert service["healthcheck"]["start_period"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", OURS)
def test_application_services_are_confined(name: str) -> None:
    """Ours run as an ordinary user, on a read-only file system, without capabilities."""
    service = SERVICES[name]

    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_application_waits_for_servers_and_schema(name: str) -> None:
    """Nothing of ours starts before the servers are healthy and the schema is there."""
    conditions = {other: rule["condition"] for other, rule in SERVICES[name]["depends_on"].items()}

    assert conditions == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }


@pytest.mark.parametrize("name", ["worker-bulk", "worker-on-demand", "worker-control"])
def test_workers_may_finish_their_longest_task(name: str) -> None:
    """A worker is given longer to stop than its longest task takes."""
    service = next(service for service in application() if service.name == name)

    assert service.stop_grace_seconds > WORKER_GRACE_SECONDS


def test_every_queue_has_its_worker() -> None:
    """The workers together serve all queues; callers, ticks and bulk have workers of their own."""
    served = {
        service.name: set(service.command[service.command.index("--queues") + 1].split(","))
        for service in application()
        if "--queues" in service.command
    }

    assert served == {
        "worker-bulk": {"refresh", "health"},
        "worker-on-demand": {"on_demand"},
        "worker-control": {"control"},
    }


def test_servers_keep_their_data_and_their_promises() -> None:
    """Data lies on named volumes; Redis appends to its file, never evicts, and asks for a password."""
    text = document()
    redis = text["configs"]["redis"]["content"].splitlines()

    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]
    assert {"postgres", "redis"} <= set(text["volumes"])
    assert "appendonly yes" in redis
    assert "maxmemory-policy noeviction" in redis
    assert any(line.startswith("requirepass ${EVERGRANT_REDIS_PASSWORD:?") for line in redis)


@pytest.mark.parametrize("name", ["worker-bulk", "worker-on-demand", "worker-control"])
def test_workers_share_a_spool_that_outlives_them(name: str) -> None:
    """What a worker stages lies on a named volume, inside of its data folder, which itself is in memory."""
    mounts = {mount["target"]: mount for mount in SERVICES[name]["volumes"]}
    folder = SERVICES[name]["environment"]["EVERGRANT_DATA_DIR"]

    spool = mounts[f"{folder}/spool"]

    assert (spool["type"], spool["source"]) == ("volume", "spool")
    assert "spool" in document()["volumes"]
    assert f"{folder}/spool" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_images_are_pinned() -> None:
    """No image floats: each names a version."""
    images = {SERVICES[name]["image"] for name in SERVERS} | {
        interpolated(SERVICES[name]["image"], {}) for name in OURS
    }

    assert all(re.fullmatch(r"[\w/.-]+:[0-9][\w.-]*", image) for image in images), images


def test_servers_are_not_published_and_what_people_see_only_to_this_machine() -> None:
    """Postgres and Redis have no port outside; Flower's is on the loopback address."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert interpolated(published, FILLED) == {
        "api": ["127.0.0.1:8080:8080"],
        "flower": ["127.0.0.1:5555:5555"],
    }
    assert document()["networks"]["servers"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["servers"] for name in SERVERS)


@pytest.mark.parametrize("missing", sorted(FILLED))
def test_no_secret_is_written_in_the_file(missing: str) -> None:
    """Every secret comes from the environment, and the file is refused without it, by name."""
    variables = {name: value for name, value in FILLED.items() if name != missing}

    if missing == "EVERGRANT_POSTGRES_PASSWORD":
        assert document()["secrets"]["postgres_password"] == {"environment": missing}
    with pytest.raises(VariableMissing, match=f"^{missing}: "):
        interpolated(document(), variables)


def test_no_secret_is_in_a_command_line() -> None:
    """Commands and health checks hold no secret: every process list shows them."""
    services = interpolated(document()["services"], FILLED)
    shown = [
        words
        for service in services.values()
        for words in (service.get("command", []), service.get("healthcheck", {}).get("test", []))
    ]

    assert not [
        word for words in shown for word in words for secret in FILLED.values() if secret in str(word)
    ]


def test_example_of_the_environment_explains_every_variable() -> None:
    """`.env.example` names each variable that the file uses, gives no secret, and comments each."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)", FILE.read_text(encoding="utf-8")))
    explained = dict(re.findall(r"^(?:# )?(EVERGRANT_\w+)=(.*)$", text, flags=re.MULTILINE))

    assert used <= explained.keys()
    assert {name for name in FILLED if explained[name]} == set()


def test_mounted_provider_file_changes_nothing() -> None:
    """Where the operator names no file, the example is mounted, and the catalogue is the built-in one."""
    from providers.catalogue import load  # noqa: PLC0415 - the other tests need nothing of the product

    mounts: list[Any] = SERVICES["worker-bulk"]["volumes"]
    mount = interpolated(mounts, {})[0]

    with_example = {definition.id for definition in load(ROOT / mount["source"])}

    assert with_example == {definition.id for definition in load()}
    assert mount["target"] == SERVICES["worker-bulk"]["environment"]["EVERGRANT_PROVIDERS_FILE"]
    assert (mount["type"], mount["read_only"]) == ("bind", True)
