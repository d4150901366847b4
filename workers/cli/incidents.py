"""`evergrant incidents`: what is wrong with whole providers, and a ruling on a wave of refusals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from workers.cli import session
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, stderr, stdout, write_json, write_table

_Id = Annotated[UUID, typer.Argument(help="The incident's id, as `incidents list` shows it.")]
_COLUMNS = ("id", "kind", "status", "provider_id", "tenant", "reason", "refused", "presented", "opened_at")

app = group("Breakers, and waves of refusals.")


@app.command("list")
def list_incidents(
    everything: Annotated[bool, typer.Option("--all", help="Waves that are over as well.")] = False,
    json: JsonOption = False,
) -> None:
    """List what is wrong with whole providers: breakers (calls are stopped) and waves of refusals."""
    with session.services() as services:
        rows = [asdict(incident) for incident in services.rulings.incidents(ended=everything)]
    if json:
        write_json(rows)
    else:
        write_table(_COLUMNS, rows, empty="no incident is open" if not everything else "no incident is known")


@app.command("confirm")
def confirm(incident_id: _Id) -> None:
    """Rule that a wave of refusals is true: the refused connections need their users from now on.

    For 24 hours further refusals there are judged at once.
    """
    with session.services() as services, _progress() as progress:
        bar = progress.add_task("declaring dead", total=None, done=0)
        done = 0

        def more(number: int) -> None:
            nonlocal done
            done += number
            progress.update(bar, done=done)

        dead = services.rulings.confirm(incident_id, on_progress=more)
    stdout.print(f"confirmed {incident_id}: {dead} connections need reauthorization")


@app.command("dismiss")
def dismiss(incident_id: _Id) -> None:
    """Rule that a wave of refusals was a mistake that is over: the refused are tried again, one by one."""
    with session.services() as services:
        again = services.rulings.dismiss(incident_id)
    stdout.print(f"dismissed {incident_id}: {again} connections are tried again")


def _progress() -> Progress:
    # On standard error, so that standard output stays the summary's.
    return Progress(
        TextColumn("{task.description}: {task.fields[done]}"), TimeElapsedColumn(), console=stderr
    )
