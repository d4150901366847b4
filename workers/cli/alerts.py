"""`evergrant alerts`: what is wrong, and that somebody looks after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Final
from uuid import UUID

import typer

from domain.errors import EvergrantError
from storage.alerts import AlertStatus
from workers.cli import session
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, for_people, stderr, stdout, write_json

_STYLES: Final = {"critical": "bold red", "warning": "yellow"}

app = group("Open and past incidents.")


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones as well.")] = False,
    json: JsonOption = False,
) -> None:
    """List the incidents that are not resolved, newest first."""
    with session.services() as services:
        statuses: tuple[AlertStatus, ...] = () if everything else ("open", "acknowledged")
        rows = (asdict(alert) for alert in services.alerts.list(statuses=statuses))
        if json:
            write_json(rows)
        elif not _say(rows):
            stderr.print("no alert is open")


def _say(rows: Iterable[Mapping[str, object]]) -> int:
    """Write each alert as a paragraph, because its words matter; return how many there were."""
    count = 0
    for row in rows:
        count += 1
        state = f"{row['severity']}, {row['status']}"
        stdout.print(f"{state}: {row['title']}", style=_STYLES.get(str(row["severity"])), markup=False)
        stdout.print(f"  {row['id']}   {_seen(row)}", markup=False)
        stdout.print(f"  {row['help']}\n", markup=False)
    return count


def _seen(row: Mapping[str, object]) -> str:
    first, last = for_people(row["first_seen_at"]), for_people(row["last_seen_at"])
    return f"seen once, {first}" if row["count"] == 1 else f"seen {row['count']} times, {first} to {last}"


@app.command("ack")
def acknowledge(alert_id: Annotated[UUID, typer.Argument(help="The alert's id.")]) -> None:
    """Say that somebody looks after an incident; it stays until it is resolved."""
    with session.services() as services:
        if not services.alerts.acknowledge(alert_id):
            raise EvergrantError(f"no open alert has the id {alert_id}")
    stdout.print(f"acknowledged {alert_id}")
