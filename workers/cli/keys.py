"""`evergrant keys`: make a key ring, see which key seals what, and change to another key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.keys.rotation import LOOK, PATIENCE, Plan, Report, named
from services.keys.wiring import KeyDesk, key_desk
from storage.keys import generate
from storage.processes import Process
from storage.resealing import OnProgress
from workers.cli import session
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, stderr, stdout, write_json, write_table

app = group("The key ring that seals tokens.")


@app.command("generate")
def generate_key() -> None:
    """Write a new key ring of one key, for EVERGRANT_KEYS; it is written nowhere else."""
    typer.echo(generate())


@app.command("list")
def list_keys(json: JsonOption = False) -> None:
    """List the keys: which one seals, which the ring holds, and how much needs each."""
    settings, servers = session.load()
    with key_desk(settings, servers) as desk:
        rows = _listed(desk)
    if json:
        write_json(rows)
        return
    write_table(tuple(rows[0]), rows, empty="no key")


@app.command("rotate")
def rotate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for processes that still use a former key.")
    ] = False,
    lost: Annotated[
        str | None, typer.Option("--lost", help="The key that seals now, where it is lost for good.")
    ] = None,
) -> None:
    """Let the first key of EVERGRANT_KEYS seal from now on, and seal everything with it that is stored.

    Refreshes go on meanwhile. It may be stopped at any moment and begun again.
    """
    settings, servers = session.load()
    with key_desk(settings, servers) as desk:
        rotation = desk.rotation()
        if dry_run:
            plan = rotation.plan()
        else:
            with _progress() as progress:
                patience = 0 * PATIENCE if no_wait else PATIENCE
                report = rotation.run(_Bars(progress), lost=lost, patience=patience)
    if dry_run:
        _say_plan(plan)
        failed = bool(plan.lacking)
    else:
        _say_report(report)
        failed = not report.complete
    if failed:
        raise typer.Exit(code=1)


class _Bars:
    """A bar for each pass, and one line for whoever is waited for."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: str | None = None

    def passing(self, name: str, count: int) -> OnProgress:
        bar = self._progress.add_task(f"sealing {name}", total=count)
        return lambda seen: self._progress.advance(bar, seen)

    def waiting(self, processes: Sequence[Process]) -> None:
        names = named(processes)
        if names != self._told:
            self._told = names
            self._progress.console.print(
                f"waiting until they have left the former key: {names}", markup=False, soft_wrap=True
            )


def _progress() -> Progress:
    # On standard error, so that standard output stays the summary's.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        refresh_per_second=1 / LOOK,
    )


def _listed(desk: KeyDesk) -> list[dict[str, object]]:
    """Return the ring's keys in their order, and after them those that are needed and not held."""
    needed = {resealer.name: resealer.keys() for resealer in desk.resealers}
    agreed = desk.elections.read().key_id
    known = dict.fromkeys(desk.ring.ids) | dict.fromkeys([agreed] if agreed else [])
    for counts in needed.values():
        known |= dict.fromkeys(counts)
    return [
        {
            "key_id": key_id,
            "seals": key_id == agreed,
            "held": key_id in desk.ring.ids,
            **{name: counts.get(key_id, 0) for name, counts in needed.items()},
        }
        for key_id in known
    ]


def _say(words: str) -> None:
    # Never wrapped: scripts read a line each.
    stdout.print(words, markup=False, soft_wrap=True)


def _say_plan(plan: Plan) -> None:
    if plan.agreed == plan.key_id:
        _say(f"{plan.key_id} seals already")
    elif plan.lacking:
        _say(f"{plan.key_id} cannot seal yet: {named(plan.lacking)} lack it; restart them with it")
    else:
        _say(f"{plan.key_id} would seal instead of {plan.agreed or 'none'}")
    for name, counts in plan.needed.items():
        others = {key_id: count for key_id, count in counts.items() if key_id != plan.key_id}
        detail = "".join(f", {count} need {key_id}" for key_id, count in sorted(others.items()))
        _say(f"{name}: {counts.get(plan.key_id, 0)} need {plan.key_id}{detail}")


def _say_report(report: Report) -> None:
    _say(f"{report.key_id} seals" + (" from now on" if report.elected else " already"))
    sealed = ", ".join(f"{count} {name}" for name, count in report.resealed.items())
    _say(f"sealed anew: {sealed}")
    for broken in report.broken:
        _say(f"left as it is: {broken.place} {broken.entry}: {broken.why}")
    if report.broken_count > len(report.broken):
        _say(f"left as they are: {report.broken_count - len(report.broken)} more")
    if report.held:
        _say(f"{report.held} were held by others all the time; run it again")
    if report.behind:
        _say(f"still use a former key: {named(report.behind)}; run it again, or restart them")
    if report.silent:
        _say(
            f"do not report any more, and had not left the former key: {named(report.silent)}; make sure "
            "that they have ended before you take a key out"
        )
    for key_id in report.removable:
        _say(
            f"{key_id} is not needed any more: take it out of EVERGRANT_KEYS, and keep it as long as backups "
            "made under it; refresh tokens spent under it are then no longer recognised"
        )
