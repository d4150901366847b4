"""`evergrant processes`: who presents, how far each has settled, and giving up one that is lost."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.errors import EvergrantError
from storage.processes import Process
from workers.cli import session
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, stdout, write_json, write_table

_COLUMNS = ("id", "role", "host", "state", "seen_at", "settled_until", "staged", "unsafe")

app = group("The processes that present refresh tokens.")


@app.command("list")
def list_processes(json: JsonOption = False) -> None:
    """List the processes that have presented lately, and what they hold that has not landed."""
    with session.services() as services:
        rows = [_row(process) for process in services.processes.all()]
    if json:
        write_json(rows)
    else:
        write_table(_COLUMNS, rows, empty="no process has registered; start `evergrant worker`")


@app.command("forget")
def forget(
    process_id: Annotated[str, typer.Argument(help="The process's id, as `processes list` shows it.")],
) -> None:
    """Give up what a process holds whose machine is lost for good.

    Connections that are in doubt because of it then have their one recovery attempt. Should its spool turn
    up after all, what lies in it still lands where nothing newer has come.
    """
    with session.services() as services:
        if not services.processes.write_off(process_id):
            raise EvergrantError(
                f"no silent process has the id {process_id!r}: it is unknown, has ended in good order, or "
                "has reported within the last minute; see `evergrant processes list`"
            )
    stdout.print(f"gave up {process_id}", markup=False)


def _row(process: Process) -> dict[str, object]:
    state = "gone" if process.gone_at is not None else "living" if process.living else "silent"
    return {
        "id": process.id,
        "role": process.role,
        "host": process.host,
        "state": state,
        "started_at": process.started_at,
        "seen_at": process.seen_at,
        "settled_until": process.settled_until,
        "staged": process.staged,
        "unsafe": process.unsafe,
    }
