"""Made-up evidence: one grant of each kind, and what happened to it, said in few words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from benchmarks.chaos.evidence import (
    Alert,
    Evidence,
    Holding,
    Life,
    Line,
    Presentation,
    Row,
    Said,
    Send,
)
from benchmarks.chaos.figure import Figure
from benchmarks.chaos.figures import judged
from benchmarks.chaos.record import Deed, Kill, Span

DIALECT = {"gsc": "google", "window": "window", "strict": "strict"}
#: When the made-up campaign began and when it was looked at.
BEGAN, LOOKED = 1_000.0, 2_000.0


@dataclass
class Story:
    """Evidence in the making. Every connection is called after its grant."""

    evidence: Evidence = field(default_factory=lambda: Evidence(began=BEGAN, ended=1_900.0, looked_at=LOOKED))
    _attempts: int = 0

    def grant(self, provider: str = "strict") -> str:
        """Add a healthy grant in our hands, one at most of each provider."""
        name = f"{DIALECT[provider]}-1"
        self.evidence.lives.append(Life(name, None, None))
        self.evidence.holdings.append(Holding(name, f"c-{name}", provider, 900.0))
        row = Row(f"c-{name}", provider, name, "active", 2, None, LOOKED + 60, LOOKED + 30)
        self.evidence.rows.append(row)
        return name

    def present(
        self,
        grant: str,
        at: float,
        *,
        seconds: float = 0.1,
        generation: int = 0,
        result: str = "refreshed",
        concurrent: bool = False,
        answered: bool = True,
        fault: str | None = None,
        worker: str = "w1",
        sent: float | None = None,
        lease: float = 40.0,
        committed: bool = True,
    ) -> str:
        """Add a presentation with its send, and its commit where it has one; give the attempt's id."""
        self._attempts += 1
        attempt = f"attempt-{self._attempts}"
        send_at = at - 0.001 if sent is None else sent
        self.evidence.sends.append(Send(attempt, f"c-{grant}", worker, send_at, send_at + lease))
        self.evidence.presentations.append(
            Presentation(grant, at, at + seconds, generation, result, concurrent, answered, fault)
        )
        if committed:
            self.line(grant, at + seconds + 0.002, "refreshed", attempt)
        return attempt

    def line(
        self, grant: str, at: float, kind: str, attempt: str | None = None, code: str | None = None
    ) -> None:
        """Add a line of the activity record."""
        self.evidence.activity.append(Line(at, f"c-{grant}", kind, attempt, 2, code))

    def say(
        self, event: str, attempt: str, at: float, *, code: str | None = None, worker: str = "w1"
    ) -> None:
        """Add a word of a worker's."""
        self.evidence.said.append(Said(event, attempt, None, worker, at, code))

    def kill(self, at: float, worker: str = "w1") -> None:
        """Kill a worker."""
        self.evidence.kills.append(Kill(at, "worker", worker, "kill_worker"))

    def stop(self, since: float, until: float, worker: str = "w1") -> None:
        """Stop a worker for a while."""
        self.evidence.stops.append(Span(worker, since, until, "stop_worker"))

    def away(self, server: str, since: float, until: float) -> None:
        """Take a server away for a while."""
        self.evidence.outages.append(Span(server, since, until, f"kill_{server}"))

    def die(self, grant: str, reason: str, at: float) -> None:
        """Let the provider end the grant."""
        self.evidence.lives = [
            Life(grant, reason, at) if life.grant_id == grant else life for life in self.evidence.lives
        ]

    def change(self, grant: str, **changed: object) -> None:
        """Change a connection's row."""
        self.evidence.rows = [
            replace(row, **changed) if row.connection_id == f"c-{grant}" else row  # type: ignore[arg-type]  # a test's own words
            for row in self.evidence.rows
        ]

    def hold(self, grant: str, **changed: object) -> None:
        """Change how the grant is held."""
        self.evidence.holdings = [
            replace(held, **changed) if held.grant_id == grant else held  # type: ignore[arg-type]  # as above
            for held in self.evidence.holdings
        ]

    def alert(self, grant: str | None, kind: str = "needs_reauth", **changed: object) -> None:
        """Open an alert."""
        connection = None if grant is None else f"c-{grant}"
        alert = Alert(f"{kind}:{grant}", kind, "open", connection, None, None, 1_200.0)
        self.evidence.alerts.append(replace(alert, **changed))  # type: ignore[arg-type]  # as above

    def deed(self, kind: str, *, at: float = BEGAN, **did: object) -> None:
        """Add something that the harness did."""
        self.evidence.deeds.append(Deed(at - BEGAN, at - BEGAN, kind, did))

    def figure(self, name: str) -> Figure:
        """Judge, and give one figure."""
        return {figure.name: figure for figure in judged(self.evidence)}[name]

    def broken(self) -> dict[str, int]:
        """Judge, and give what is not nought."""
        return {figure.name: figure.value for figure in judged(self.evidence) if figure.value}
