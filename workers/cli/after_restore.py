"""`evergrant doctor --after-restore`: what a restored database comes to, and the answer to it."""

from __future__ import annotations

from datetime import datetime, timedelta

import typer

from services.alerts import signs_in_words
from services.restore.after import Fate
from services.restore.findings import Findings
from workers.cli import session
from workers.cli.output import for_people, stdout, write_table


def after_restore(*, yes: bool, declare: bool) -> None:
    """Say what is found and what will be done, and do it after a yes; exit 1 where there was none.

    Args:
        declare: It was restored, even if nothing shows it.
    """
    with session.services() as services:
        findings = services.after_restore.look()
        if declare:
            findings = findings.declared()
        if not findings.restored:
            _say("This database goes on where it left off; there is nothing to do.")
            return
        fates = services.after_restore.fates(findings)
        _tell(findings, fates, staged=services.after_restore.staged())
        if not yes and not _agreed():
            _say("Nothing was changed.")
            raise typer.Exit(code=1)
        done = services.after_restore.accept(findings, fates)
    _say(f"Done: {sum(done.values())} connections are in doubt, the database is accepted.")


def _agreed() -> bool:
    try:
        return typer.confirm("Do this?", default=False)
    except typer.Abort:
        # Nobody is there to ask.
        _say("")
        return False


def _tell(findings: Findings, fates: list[Fate], *, staged: int) -> None:
    present = findings.present
    _say("This database looks like a restored backup.")
    _say(f"  why        {signs_in_words(findings.signs)}")
    _say(f"  accepted   {present.accepted or 'never'} (system/timeline/database)")
    _say(f"  present    {present.identity}")
    _say(f"  database   line {findings.line}, written {_when(findings.last_at)}")
    for place, mark in sorted(findings.marks.items()):
        _say(f"  mark       {place}: line {mark.line}, {_when(mark.at)}, of {mark.identity}")
    if not findings.marks:
        _say(
            "  mark       none: how much is missing is unknown, and everything due by now is taken for spent"
        )
    _say(f"  missing    {findings.lines_missing} lines of activity{_long(findings.behind)}")
    _say(f"  staged     {staged} received answers; they land by themselves")
    _say("")
    rows = [
        {
            "provider": fate.provider_id,
            "connections": fate.living,
            "probably_refreshed_since": fate.doubtful if fate.withheld else None,
            "what_is_done_with_those": fate.words,
        }
        for fate in fates
    ]
    columns = ("provider", "connections", "probably_refreshed_since", "what_is_done_with_those")
    write_table(columns, rows, empty="There are no living connections.")
    doubtful = sum(fate.doubtful for fate in fates)
    _say("")
    _say("What will be done, in one transaction:")
    _say(
        f"  - {doubtful} connections of providers that rotate tokens are put in doubt; a refused one is told"
    )
    _say("    as a rotation that was probably lost. All others stay as they are")
    _say("  - the present database is accepted, the alert resolved, and presenting goes on")
    _say("What it cannot do: connections made since the backup are gone, and must be imported again; those")
    _say("that were disconnected since are back, and must be disconnected again.")
    _say("If a newer state of the database exists, stop the workers and bring that one back instead.")


def _say(line: str) -> None:
    stdout.print(line, markup=False, soft_wrap=True)


def _when(instant: datetime | None) -> str:
    return "never" if instant is None else for_people(instant)


def _long(duration: timedelta | None) -> str:
    if duration is None:
        return ""
    return f", {timedelta(seconds=int(duration.total_seconds()))} from its last line to the newest mark"
