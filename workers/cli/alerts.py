"""`evergrant alerts`: what is wrong, and that somebody looks after it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from domain.errors import EvergrantError
from storage.alerts import AlertStatus
from workers.cli import session
from workers.cli.output import JsonOption, stdout, write_json, write_table

app = typer.Typer(help="Open and past incidents.", no_args_is_help=True)


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
        else:
            columns = ("id", "severity", "status", "count", "first_seen_at", "last_seen_at", "title", "help")
            write_table(columns, rows, empty="no alert is open")


@app.command("ack")
def acknowledge(alert_id: Annotated[UUID, typer.Argument(help="The alert's id.")]) -> None:
    """Say that somebody looks after an incident; it stays until it is resolved."""
    with session.services() as services:
        if not services.alerts.acknowledge(alert_id):
            raise EvergrantError(f"no open alert has the id {alert_id}")
    stdout.print(f"acknowledged {alert_id}")
