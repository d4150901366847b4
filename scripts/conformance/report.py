"""Writes a run's findings for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from scripts.conformance.findings import Lie, Report


def lines(reports: Sequence[Report], *, gaps: bool) -> Iterator[str]:
    """Yield one line a provider, below it what was found, and a last line that sums up.

    Args:
        gaps: Say as well what transcripts do not show.
    """
    width = max((len(report.provider_id) for report in reports), default=0)
    for report in reports:
        yield f"{report.provider_id:<{width}}  {_played(report)}  {_verdict(report)}"
        for exchanges, lie in _grouped(report.lies):
            yield from _told(report.provider_id, exchanges, lie)
        if gaps:
            yield from (f"    not shown: {gap}" for gap in report.gaps)
    lying = sum(1 for report in reports if not report.conforms)
    calls = sum(report.played + report.own for report in reports)
    what = "1 provider" if len(reports) == 1 else f"{len(reports)} providers"
    verdict = "none lies" if not lying else "1 lies" if lying == 1 else f"{lying} lie"
    yield f"{what}, {calls} calls: {verdict}"


def _played(report: Report) -> str:
    if not report.has_transcript:
        shown = "no transcript"
    else:
        shown = f"{report.played} exchanges ({report.documented} documented)"
    return f"{shown:<30}{report.own:>4} of its own"


def _verdict(report: Report) -> str:
    if lies := _grouped(report.lies):
        return "LIES" if len(lies) == 1 else f"LIES ({len(lies)})"
    if not report.has_transcript:
        # Whether it agrees with the provider, nobody has shown.
        return "agrees with itself"
    return f"conforms, {len(report.gaps)} not shown" if report.gaps else "conforms"


def _grouped(lies: Sequence[Lie]) -> list[tuple[list[str], Lie]]:
    """Put lies together that differ only in where they were noticed."""
    groups: dict[Lie, list[str]] = {}
    for lie in lies:
        groups.setdefault(replace(lie, exchange=""), []).append(lie.exchange)
    return [(exchanges, lie) for lie, exchanges in groups.items()]


def _told(provider_id: str, exchanges: list[str], lie: Lie) -> Iterator[str]:
    more = f" (and {len(exchanges) - 1} more)" if len(exchanges) > 1 else ""
    yield f"    {provider_id}: {exchanges[0]}{more}"
    yield f"      the provider    {lie.provider}"
    yield f"      the definition  {lie.definition}"
    yield f"      mend            {lie.mend}"
    yield f"      source          {lie.source}"
