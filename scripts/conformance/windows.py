"""Holds a replay window to what pages show of spent refresh tokens: one that is too long ends grants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from domain.provider import ReplayWindow
from providers.definition import ProviderDefinition
from scripts.conformance.findings import Lie
from simulator.playing.transcript import Exchange, Transcript

_NAME: Final = "a spent refresh token is presented again"
_MEND: Final = "replay_window"


def too_long(definition: ProviderDefinition, transcript: Transcript) -> Iterator[Lie]:
    """Yield a lie where the definition presents a spent refresh token later than any exchange allows."""
    claimed = definition.replay_window
    if not claimed:
        return
    shown = [one for one in transcript.exchange if one.means.again_for is not None]
    longest = max(shown, key=lambda one: _length(_shown(one)), default=None)
    if longest is None:
        source = f"no exchange with means.again_for in the transcript of {transcript.provider}"
        yield Lie(_NAME, "shows it honoured nowhere", f"counts on {_words(claimed)}", _MEND, source)
    elif _length(claimed) > _length(allowed := _shown(longest)):
        lets = f"lets it be presented again: {_words(allowed)}"
        yield Lie(longest.name, lets, f"counts on {_words(claimed)}", _MEND, longest.source)


def _shown(exchange: Exchange) -> ReplayWindow:
    again = exchange.means.again_for
    return timedelta(seconds=again) if isinstance(again, int) else again or timedelta(0)


def _length(window: ReplayWindow) -> float:
    """Order windows: the successor may be used after any time, and "unlimited" asks for nothing."""
    if isinstance(window, timedelta):
        return window.total_seconds()
    return float("inf") if window == "unlimited" else 1e12


def _words(window: ReplayWindow) -> str:
    return f"{window.total_seconds():.0f} s" if isinstance(window, timedelta) else window
