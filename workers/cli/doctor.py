"""`evergrant doctor`: what is wrong with this deployment, and what to do."""

from __future__ import annotations

from typing import Final

import typer

from services import settings as service_settings
from workers.cli.app_maker import single
from workers.cli.output import JsonOption, stdout, write_json
from workers.doctor import Finding, Severity, examine

_MARKS: Final = {
    Severity.OK: "[green]ok  [/]",
    Severity.WARN: "[yellow]warn[/]",
    Severity.FAIL: "[red]FAIL[/]",
}


def doctor(json: JsonOption = False) -> None:
    """Look at every setting, server, key, schema version and process; exit 1 if something cannot work."""
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
