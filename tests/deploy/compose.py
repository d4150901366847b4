"""Reads docker-compose.yml as Compose does, as far as its own file needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "docker-compose.yml"
#: What a filled-in .env gives: every variable without a default.
FILLED: Final = {
    "EVERGRANT_POSTGRES_PASSWORD": "postgres-password-of-the-test",
    "EVERGRANT_REDIS_PASSWORD": "redis-password-of-the-test",
    "EVERGRANT_KEYS": "k1:TW9yZSB0aGFuIGVub3VnaCBieXRlcyBmb3IgYSBrZXk=",
    "EVERGRANT_FLOWER_BASIC_AUTH": "ops:flower-password-of-the-test",
}

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<word>[^}]*))?\})")


class VariableMissing(Exception):
    """A variable that the file demands is not set."""


@dataclass(frozen=True)
class Service:
    """One application service, ready to be run without a container."""

    name: str
    command: list[str]
    healthcheck: list[str] | None
    environment: dict[str, str]
    stop_grace_seconds: int
    after: frozenset[str]


def document() -> dict[str, Any]:
    """Read the file as it stands, merge keys resolved and variables not."""
    read = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into every text of a value."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _replacement(found, variables), value)
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if isinstance(value, dict):
        return {key: interpolated(item, variables) for key, item in value.items()}
    return value


def _replacement(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    value = variables.get(found["name"], "")
    if value:
        return value
    if found["kind"] == ":?":
        raise VariableMissing(f"{found['name']}: {found['word']}")
    return found["word"] or ""


def is_ours(service: Mapping[str, Any]) -> bool:
    """Say whether a service runs our image."""
    return "build" in service


def application(variables: Mapping[str, str] = FILLED) -> list[Service]:
    """Return the services that run our image, each after those it depends on."""
    services = interpolated(document()["services"], variables)
    ours = {
        name: Service(
            name=name,
            command=service["command"],
            healthcheck=_exec_form(service.get("healthcheck")),
            environment={key: str(value) for key, value in service["environment"].items()},
            stop_grace_seconds=int(service.get("stop_grace_period", "10s").removesuffix("s")),
            after=frozenset(service.get("depends_on", ())),
        )
        for name, service in services.items()
        if is_ours(service)
    }
    ordered: list[Service] = []
    while len(ordered) < len(ours):
        started = {service.name for service in ordered}
        ready = [
            service
            for service in ours.values()
            if service.name not in started and not (service.after & ours.keys()) - started
        ]
        assert ready, "services depend on each other in a circle"
        ordered += ready
    return ordered


def _exec_form(healthcheck: Mapping[str, Any] | None) -> list[str] | None:
    if healthcheck is None:
        return None
    form, *words = healthcheck["test"]
    assert form == "CMD", "a health check of ours is run without a shell"
    return [str(word) for word in words]
