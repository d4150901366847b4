"""The live status in the terminal: a panel where there is one, a line now and then where there is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workers.supervision.state import Event, Happening, ProcessState, Status
from workers.up.snapshot import Snapshot

#: Between two lines where standard output is a file or a pipe.
LINE_EVERY_SECONDS: Final = 10.0
_COLOURS: Final = {Status.RUNNING: "green", Status.DONE: "green", Status.RESTARTING: "red"}
#: Happenings worth a line of their own; the rest is in the table of processes.
_TOLD: Final = frozenset(
    {
        Happening.DIED,
        Happening.NOT_READY,
        Happening.KILLED,
        Happening.SPARED,
        Happening.DISPLAY_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a person needs to look further. No secret: a file's place, not its content."""

    flower: str
    flower_password: str
    logs: str
    face: str
    admin_key: str
    simulator: str | None = None


class Display:
    """Shows snapshots and process states; told events in between."""

    def __init__(
        self,
        console: Console,
        addresses: Addresses,
        latest: Callable[[], Snapshot],
        *,
        started_at: float,
    ) -> None:
        """Take what is shown.

        Args:
            started_at: Unix time at which the user's command began, for the time to the first refresh.
        """
        self._console = console
        self._addresses = addresses
        self._latest = latest
        self._started_at = started_at
        self._first_refresh: float | None = None
        self._next_line = 0.0
        self._live = (
            Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self, states: tuple[ProcessState, ...]) -> None:
        """Show the newest figures."""
        snapshot = self._latest()
        if self._first_refresh is None and snapshot.refreshed:
            self._first_refresh = time.time() - self._started_at
            self._console.print(f"first refresh {self._first_refresh:.0f} s after the start")
        if self._live is not None:
            self._live.update(self._panel(snapshot, states), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_SECONDS
            self._console.print(_line(snapshot, states), soft_wrap=True)

    def event(self, event: Event) -> None:
        """Tell what a person should notice even after it scrolled by."""
        if event.happening in _TOLD:
            self._console.print(f"{event.name} {event.happening}: {event.detail}", style="red", markup=False)
        elif self._live is None and event.happening in (Happening.READY, Happening.DONE):
            self._console.print(f"{event.name} {event.happening}", markup=False)

    def _panel(self, snapshot: Snapshot, states: Sequence[ProcessState]) -> Group:
        figures = Table(box=None, show_header=False, pad_edge=False)
        figures.add_column(style="bold", min_width=14)
        figures.add_column()
        for name, value in _figures(snapshot):
            figures.add_row(name, value)
        if self._first_refresh is not None:
            figures.add_row("first refresh", f"{self._first_refresh:.0f} s after the start")
        places = self._addresses
        figures.add_row("HTTP", f"{places.face}  (API key: {places.admin_key})")
        figures.add_row("flower", f"{places.flower}  (sign-in: {places.flower_password})")
        if places.simulator is not None:
            figures.add_row("simulator", f"{places.simulator}  (plays the providers; nothing real is called)")
        figures.add_row("logs", places.logs)
        return Group(_processes(states), Text(), figures, Text("Ctrl-C stops everything", style="dim"))


def _processes(states: Sequence[ProcessState]) -> Text:
    text = Text()
    for state in states:
        text.append(f"{state.name} ", style="bold")
        text.append(f"{state.status}", style=_COLOURS.get(state.status, "yellow"))
        if state.restarts:
            text.append(f" ({state.restarts} restarts)", style="red")
        text.append("   ")
    return text


def _figures(snapshot: Snapshot) -> list[tuple[str, str]]:
    fleet = snapshot.fleet
    if fleet is None:
        return [("connections", snapshot.trouble or "…")]
    by_provider = ", ".join(f"{one.provider_id} {sum(one.by_status.values())}" for one in fleet.providers)
    total = sum(fleet.by_status.values())
    by_status = ", ".join(f"{status} {count}" for status, count in sorted(fleet.by_status.items()))
    late = "-"
    if snapshot.lateness_p50 is not None and snapshot.lateness_p99 is not None:
        late = f"p50 {snapshot.lateness_p50:.1f} s, p99 {snapshot.lateness_p99:.1f} s (last minute)"
    figures = [
        ("connections", f"{total}  ({by_provider})" if total else "none yet"),
        ("", by_status),
        ("due", f"{fleet.due}  (expired: {fleet.expired})"),
        ("refreshed", f"{snapshot.refreshed}"),
        ("checked", f"{snapshot.checked}"),
        ("failed", f"{snapshot.failed}"),
        ("in doubt", f"{snapshot.doubted} since the start, {snapshot.recovered} of them recovered"),
        ("lateness", late),
        (
            "alerts",
            f"{snapshot.open_alerts} open" + ("  (evergrant alerts list)" if snapshot.open_alerts else ""),
        ),
    ]
    if snapshot.trouble is not None:
        figures.append(("trouble", snapshot.trouble))
    return figures


def _line(snapshot: Snapshot, states: Sequence[ProcessState]) -> str:
    fleet = snapshot.fleet
    if fleet is None:
        waiting = [state.name for state in states if state.status in (Status.WAITING, Status.STARTING)]
        return f"starting: {', '.join(waiting)}" if waiting else "starting"
    late = "-" if snapshot.lateness_p99 is None else f"{snapshot.lateness_p99:.1f}s"
    return (
        f"connections {sum(fleet.by_status.values())} · due {fleet.due} · expired {fleet.expired} · "
        f"refreshed {snapshot.refreshed} · checked {snapshot.checked} · failed {snapshot.failed} · "
        f"in doubt {snapshot.doubted} (recovered {snapshot.recovered}) · "
        f"lateness p99 {late} · alerts {snapshot.open_alerts}"
    )
