"""`evergrant connections`: import them, list them, look at one, end one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from domain.errors import ConfigurationError, EvergrantError
from domain.lifetimes import End
from domain.token import Status
from services import settings as service_settings
from services.imports import ImportReport, Rejected, bounded_lines
from workers.cli import session
from workers.cli.app_maker import group
from workers.cli.disconnect import disconnect_connection
from workers.cli.output import JsonOption, for_people, stderr, stdout, write_json, write_table
from workers.embedded.layout import DataFolder
from workers.up.demo import is_demo

app = group("The grants that Evergrant keeps.")
app.command("disconnect")(disconnect_connection)


@app.command("import")
def import_connections(
    file: Annotated[str, typer.Argument(help="A file of one JSON object a line; - for standard input.")],
    replace_credentials: Annotated[
        bool, typer.Option("--replace-credentials", help="Replace living connections' tokens as well.")
    ] = False,
) -> None:
    """Import connections. A bad line is reported with its number and stops nothing else."""
    _refuse_demo()
    with session.services() as services, _opened(file) as (lines, size), _progress() as progress:
        bar = progress.add_task("importing", total=size)

        def rejected(line: Rejected) -> None:
            # Never wrapped: scripts read a report a line.
            progress.console.print(f"line {line.line}: {line.reason}", markup=False, soft_wrap=True)

        report = services.importer.run(
            bounded_lines(lines),
            replace=replace_credentials,
            on_rejected=rejected,
            on_progress=lambda read: progress.advance(bar, read),
        )
    stdout.print(_summary(report))
    if report.rejected:
        raise typer.Exit(code=1)


@app.command("list")
def list_connections(
    user_id: Annotated[str | None, typer.Option("--user-id", help="Only this user's.")] = None,
    provider_id: Annotated[str | None, typer.Option("--provider-id", help="Only this provider's.")] = None,
    status: Annotated[Status | None, typer.Option("--status", help="Only in this status.")] = None,
    json: JsonOption = False,
) -> None:
    """List connections."""
    with session.services() as services:
        rows = (
            asdict(row)
            for row in services.connections.list(user_id=user_id, provider_id=provider_id, status=status)
        )
        if json:
            write_json(rows)
        else:
            columns = ("id", "user_id", "provider_id", "account_id", "status", "expires_at", "version")
            write_table(columns, rows, empty="no connection; see `evergrant connections import --help`")


@app.command("show")
def show_connection(
    connection_id: Annotated[UUID, typer.Argument(help="The connection's id.")],
    json: JsonOption = False,
) -> None:
    """Show one connection: its state, its schedule, and what happened to it lately."""
    with session.services() as services:
        shown = services.connections.show(connection_id)
        if shown is None:
            raise EvergrantError(f"no connection has the id {connection_id}")
        summary, activity = shown
        living = summary.status in {Status.ACTIVE, Status.IN_DOUBT}
        end = services.forecast.of(summary.provider_id, summary.life) if living else None
    entries = [asdict(entry) for entry in activity]
    if json:
        forecast = None if end is None else asdict(end) | {"life": end.life.total_seconds()}
        write_json([{**asdict(summary), "forecast": forecast, "activity": entries}])
        return
    for name, value in asdict(summary).items():
        stdout.print(f"{name:>22}  {for_people(value)}", markup=False)
    stdout.print(f"{'forecast':>22}  {_forecast(end)}", markup=False)
    stdout.print()
    write_table(
        ("at", "kind", "code", "version", "attempt_id"),
        entries,
        empty="nothing has happened to it yet",
    )


def _forecast(end: End | None) -> str:
    """Say in words when a grant will die."""
    if end is None:
        return "no end is known"
    unless = " unless it is refreshed, which moves it" if end.renewed else ""
    return f"ends {for_people(end.at)} ({end.of}){unless}"


def _refuse_demo() -> None:
    """Keep real tokens out of a demo, which would present them to its simulator.

    Raises:
        ConfigurationError: The data folder is a demo's.
    """
    settings = service_settings.load()
    folder = DataFolder(settings.data_dir)
    if settings.database_url is None and is_demo(folder):
        raise ConfigurationError(
            f"{folder.path} belongs to `evergrant up --demo`, whose providers are a simulator; set "
            "EVERGRANT_DATA_DIR to another folder, and start `evergrant up` there"
        )


@contextmanager
def _opened(file: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open the lines to import, with their size in bytes where it is known."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115 - closed below; only the opening may be refused
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened, Path(file).stat().st_size


def _progress() -> Progress:
    # On standard error, so that standard output stays the summary's.
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=stderr
    )


def _summary(report: ImportReport) -> str:
    counts = [f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items())]
    counts.append(f"{report.rejected} rejected")
    return f"{report.lines} lines: " + ", ".join(counts)
