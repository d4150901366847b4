"""`evergrant doctor`: what is wrong with this deployment, and what to do."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from domain.errors import ConfigurationError
from services import settings as service_settings
from workers.cli.after_restore import after_restore as settle_restore
from workers.cli.app_maker import single
from workers.cli.output import JsonOption, stdout, write_json
from workers.doctor import Finding, Severity, examine

_MARKS: Final = {
    Severity.OK: "[green]ok  [/]",
    Severity.WARN: "[yellow]warn[/]",
    Severity.FAIL: "[red]FAIL[/]",
}


def doctor(
    json: JsonOption = False,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Say what a restored database comes to, and settle it.")
    ] = False,
    declare: Annotated[
        bool,
        typer.Option("--declare", help="With --after-restore: it was restored, even if nothing shows it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --after-restore: do not ask.")] = False,
) -> None:
    """Look at every setting, server, key, schema version and process; exit 1 if something cannot work.

    With --after-restore: say what is found of a restored database and what will be done, and do it after a
    yes; without one nothing is changed, and the exit status is 1.
    """
    if after_restore and json:
        raise ConfigurationError("--after-restore speaks to people; leave --json out")
    if after_restore:
        settle_restore(yes=yes, declare=declare)
        return
    if yes or declare:
        raise ConfigurationError("--yes and --declare belong to --after-restore; give that as well")
    failed = False
    findings = []
    for finding in examine(service_settings.environment()):
        failed = failed or finding.severity is Severity.FAIL
        findings.append(finding.as_row())
        if not json:
            _say(finding)
    if json:
        write_json(findings)
    if failed:
        raise typer.Exit(code=1)


def _say(finding: Finding) -> None:
    stdout.print(_MARKS[finding.severity], end=" ")
    stdout.print(f"{finding.subject}: {finding.found}", markup=False, soft_wrap=True)
    if finding.mend:
        stdout.print(f"     → {finding.mend}", markup=False, soft_wrap=True)


app = single(doctor)
