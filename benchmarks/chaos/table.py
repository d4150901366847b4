"""The figures as a Markdown table, put between two markers of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- chaos: begin (written by `make chaos`) -->"
END: Final = "<!-- chaos: end -->"

Result = Mapping[str, Any]


def render(result: Result) -> str:
    """Return the table and what stands around it."""
    totals, windows = result["totals"], result["windows"]
    commit = result["figures"]["answers_lost"]["answer_to_commit_microseconds"]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(totals["refreshes_by_kind"].items()))
    kills = ", ".join(f"{count} {sort}" for sort, count in sorted(totals["kills_by_sort"].items()))
    made = (
        f"Campaign of {result['conditions']['at'][:10]}, seed {result['seed']}, "
        f"{result['minutes']:g} minutes of faults, {result['conditions']['cores']} cores; "
        f"repeat it with `{result['command']}`."
    )
    counted = (
        f"{totals['presentations']:,} presentations, {totals['refreshes']:,} refreshes ({kinds}); "
        f"{totals['kills']} kills ({kills}), {totals['stops']} workers stopped past their lease."
    )
    lines = [
        made,
        "",
        counted,
        "",
        "| figure | broken | excused, each listed in the result |",
        "| --- | ---: | --- |",
    ]
    lines += [
        f"| {figure['promise']} | {figure['value']} | {_excuses(figure)} |"
        for figure in result["figures"].values()
    ]
    lost = result["figures"]["grants_lost"]["lost_by_kind"]
    send = windows["check_to_sent_microseconds"]
    durable = windows["last_byte_to_commit_microseconds"]
    lines += [
        "",
        "Grants lost in all: " + ", ".join(f"{count} of {kind}" for kind, count in lost.items()) + ".",
        "",
        "| window that no client can close | p50 | p99 | greatest | over |",
        "| --- | ---: | ---: | ---: | ---: |",
        _window("last look at the lease → first byte sent", send),
        _window("answer's last byte → durable commit", durable),
        _window("the same in the campaign, under load", commit),
    ]
    return "\n".join(lines)


def _excuses(figure: Mapping[str, Any]) -> str:
    reasons: dict[str, int] = {}
    for item in figure["excused_ones"]:
        because = item["because"] if isinstance(item["because"], str) else "a process was stopped in between"
        reasons[because] = reasons.get(because, 0) + 1
    return "; ".join(f"{count}: {because}" for because, count in sorted(reasons.items())) or "none"


def _window(name: str, spread: Mapping[str, Any]) -> str:
    def shown(key: str) -> str:
        return "?" if spread[key] is None else f"{spread[key]:,.0f} µs"

    return f"| {name} | {shown('p50')} | {shown('p99')} | {shown('max')} | {spread['count']:,} refreshes |"


def insert(page: Path, table: str) -> None:
    """Put the table between the page's markers.

    Raises:
        ValueError: The page has not both markers, in this order.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} needs the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
