"""What the simulated providers remember, and how each event changes it: live, and when a journal is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from simulator.counters import Counters
from simulator.grants import Grant, Presentation, Verdict
from simulator.settings import DialectSettings, Span

Event = list[Any]  # Any: a line of JSON whose shape its first word tells; only `Memory` reads it

_INCIDENTS_KEPT = 10_000


class Incident(NamedTuple):
    """Something a careful client never causes: ``concurrent``, ``reuse`` or ``window_replay``."""

    kind: str
    grant_id: str
    generation: int
    at: float


class DialectState:
    """One dialect's settings, grants and counts."""

    def __init__(self, name: str, settings: DialectSettings, default_scope: str) -> None:
        self.name = name
        self.settings = settings
        self.default_scope = default_scope
        self.grants: list[Grant] = []
        self.counters = Counters()
        self.incidents: deque[Incident] = deque(maxlen=_INCIDENTS_KEPT)

    def grant(self, number: int) -> Grant | None:
        """Return the grant of that number, or None if it was never minted (or its mint was not journaled)."""
        return self.grants[number] if 0 <= number < len(self.grants) else None


class Memory:
    """Every dialect's state. An event is a list: its kind, the dialect, and what the kind needs."""

    def __init__(self, states: Mapping[str, DialectState], *, history_length: int) -> None:
        self.states = states
        self._history_length = history_length
        self._appliers: dict[str, Callable[..., None]] = {
            "mint": self._on_mint,
            "issue": self._on_issue,
            "token": self._on_token_request,
            "check": self._on_check,
            "used": self._on_used,
            "kill": self._on_kill,
            "note": self._on_note,
            "fault": self._on_fault,
            "settings": self._on_settings,
            "counters": self._on_counters,
            "grant": self._on_grant,
            "reset": self._on_reset,
        }

    def apply(self, event: Event) -> None:
        """Change the state as `event` says."""
        kind, dialect, *rest = event
        self._appliers[kind](self.states[dialect], *rest)

    def snapshot(self) -> Iterator[Event]:
        """Yield the events that make this state out of an empty memory."""
        for name, state in self.states.items():
            yield ["settings", name, state.settings.as_json()]
            yield ["counters", name, state.counters.as_json(), list(state.incidents)]
            for grant in state.grants:
                yield ["grant", name, grant.as_row()]

    def _on_mint(self, state: DialectState, order: dict[str, Any]) -> None:
        rng = Random(order["seed"])  # noqa: S311 - spreads expiries repeatably; no secret comes of it
        lifetime = None if order["lifetime"] is None else Span.parse(order["lifetime"])
        first = order["first_lifetime"]
        first_span = (lifetime or state.settings.lifetime) if first is None else Span.parse(first)
        for number in range(order["first"], order["first"] + order["count"]):
            state.grants.append(
                Grant(
                    dialect=state.name,
                    number=number,
                    user=order["user"].replace("{n}", str(number)),
                    owner=order["owner"],
                    scope=order["scope"],
                    client_id=order["client_id"],
                    lifetime=lifetime,
                    minted_at=order["at"],
                    access_expires_at=None if first_span is None else order["at"] + int(first_span.draw(rng)),
                )
            )

    def _on_issue(
        self,
        state: DialectState,
        number: int,
        fields: tuple[int, int, float | None, float | None, float],
    ) -> None:
        generation, serial, expires_at, rotated_at, late = fields
        grant = state.grants[number]
        grant.generation, grant.serial, grant.access_expires_at = generation, serial, expires_at
        if rotated_at is not None:
            grant.rotated_at, grant.successor_used = rotated_at, False
        if late > 0:
            state.counters.lapses += 1
            state.counters.max_lapse_seconds = max(state.counters.max_lapse_seconds, late)

    def _on_token_request(
        self,
        state: DialectState,
        number: int | None,
        fields: Iterable[Any],  # Any: the fields of Presentation
    ) -> None:
        presentation = Presentation(*fields)
        counters, result = state.counters, presentation.result
        counters.token_requests += 1
        counters.answered += presentation.answered
        counters.results[result] = counters.results.get(result, 0) + 1
        if number is None:
            return
        grant = state.grants[number]
        grant.presentations += 1
        counters.presentations += 1
        if grant.history is None:
            grant.history = deque(maxlen=self._history_length)
        grant.history.append(presentation)
        if presentation.concurrent:
            counters.concurrent_presentations += 1
            state.incidents.append(_incident("concurrent", grant, presentation))
        if result in (Verdict.REFRESHED, Verdict.REPLAYED):
            grant.used_at = presentation.ended_at
        if result == Verdict.REUSE:
            state.incidents.append(_incident("reuse", grant, presentation))
        elif result == Verdict.REPLAYED:
            state.incidents.append(_incident("window_replay", grant, presentation))

    def _on_check(self, state: DialectState, result: str) -> None:
        state.counters.checks += 1
        state.counters.expired_token_uses += result == "expired"
        state.counters.check_results[result] = state.counters.check_results.get(result, 0) + 1

    def _on_used(self, state: DialectState, number: int) -> None:
        state.grants[number].successor_used = True

    def _on_kill(self, state: DialectState, number: int, reason: str, at: float) -> None:
        state.grants[number].dead_reason, state.grants[number].died_at = reason, at

    def _on_note(self, state: DialectState, counter: str) -> None:
        setattr(state.counters, counter, getattr(state.counters, counter) + 1)

    def _on_fault(self, state: DialectState, kind: str, answered: bool) -> None:
        state.counters.note_fault(kind, answered=answered)

    def _on_settings(self, state: DialectState, settings: dict[str, object]) -> None:
        state.settings = state.settings.patched(settings)

    def _on_counters(self, state: DialectState, row: dict[str, object], incidents: list[list[Any]]) -> None:
        state.counters = Counters.from_json(row)
        state.incidents.extend(Incident(*incident) for incident in incidents)

    def _on_grant(self, state: DialectState, row: dict[str, object]) -> None:
        state.grants.append(Grant.from_row(row, self._history_length))

    def _on_reset(self, state: DialectState) -> None:
        state.counters = Counters()
        state.incidents.clear()
        for grant in state.grants:
            grant.presentations = 0


def _incident(kind: str, grant: Grant, presentation: Presentation) -> Incident:
    return Incident(kind, grant.grant_id, presentation.generation, presentation.started_at)
