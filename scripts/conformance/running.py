"""Plays a provider's transcript, and what follows from its definition alone, and reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

from domain.errors import ConfigurationError
from providers.client import Exchanges, ProviderClient
from providers.definition import ProviderDefinition
from providers.http import WireAnswer, WireRequest
from scripts.conformance import own
from scripts.conformance.blurring import blurred
from scripts.conformance.consenting import astray
from scripts.conformance.coverage import gaps
from scripts.conformance.documents import Contradiction
from scripts.conformance.driving import conclude
from scripts.conformance.findings import ITSELF, Lie, Report
from scripts.conformance.judging import Conclusion, lies
from scripts.conformance.mending import key_to_mend
from scripts.conformance.moving import moved
from scripts.conformance.rows import row_of
from scripts.conformance.windows import too_long
from simulator.playing.insisting import Discrepancy
from simulator.playing.known import Known
from simulator.playing.player import Played, Player
from simulator.playing.transcript import Exchange, Transcript

#: What to look at where the definition cannot make a call at all.
_PLACES: Final = {
    "token": "token_url, authorize_url or grant",
    "check": "check",
    "revoke": "revoke_url or revoke",
    "account": "account",
    "device": "device_url",
}


class LeftTheStage(RuntimeError):
    """A call was about to leave for a real host: `moving` does not know one of the definition's URLs."""


class _OnStage:
    """The real wire, which leads to the player and to nobody else."""

    def __init__(self, wire: Exchanges, base_url: str) -> None:
        self._wire, self._base_url = wire, base_url

    def exchange(
        self, request: WireRequest, *, deadline: timedelta, began: float | None = None
    ) -> WireAnswer:
        if not str(request.url).startswith(f"{self._base_url}/"):
            raise LeftTheStage(f"{request.url} is not moved onto the player")
        return self._wire.exchange(request, deadline=deadline, began=began)


class Stage:
    """A player and the real client, for one run."""

    def __init__(self, player: Player, wire: Exchanges) -> None:
        self._player, self._client = player, ProviderClient(_OnStage(wire, player.base_url))

    def report(self, definition: ProviderDefinition, transcript: Transcript | None) -> Report:
        """Return what came of a provider: its transcript first, then the definition's own cases."""
        report = Report(definition.id)
        if transcript is not None:
            report.has_transcript = True
            report.played = len(transcript.exchange)
            report.documented = sum(1 for one in transcript.exchange if one.documented)
            report.gaps = list(gaps(definition, transcript))
            report.lies += self.played(definition, transcript)
        report.own, found = self.tried(definition)
        report.lies += found
        return report

    def played(self, definition: ProviderDefinition, transcript: Transcript) -> list[Lie]:
        """Return where the definition says otherwise than the transcript shows."""
        found = [lie for exchange in transcript.exchange for lie in self._play(definition, exchange)]
        if transcript.authorize is not None:
            found += astray(definition, transcript.authorize)
        return [*found, *too_long(definition, transcript)]

    def tried(self, definition: ProviderDefinition) -> tuple[int, list[Lie]]:
        """Return how many cases follow from the definition alone, and where it contradicts them."""
        count, found = 0, []
        try:
            for exchange in own.cases(definition):
                count += 1
                found += self._play(definition, exchange)
            for row in own.rows(definition):
                count += 1
                found += self._play_row(definition, row)
        except Contradiction as error:
            says = f"looks for two things at one place: {error}"
            found.append(
                Lie("an answer of its own", "cannot answer so", says, "answer_names, account", ITSELF)
            )
        return count, found

    def _play_row(self, definition: ProviderDefinition, row: own.Row) -> list[Lie]:
        """A row has its say if one of the answers that it is for comes out as it says."""
        if not row.exchanges:
            nowhere = "is asked nothing there", "has a row about it, and no request to it"
            return [Lie("the judgement table", *nowhere, row.key, ITSELF)]
        found: list[Lie] = []
        for exchange in row.exchanges:
            instead = self._play(definition, exchange)
            if not instead:
                return []
            found = found or instead
        shadowed = [replace(one, mend=row.key) for one in found if one.mend.startswith("judgements")]
        return shadowed[:1] or found[:1]

    def _play(self, definition: ProviderDefinition, exchange: Exchange) -> list[Lie]:
        try:
            played, concluded = self._concluded(definition, exchange)
        except ConfigurationError as error:
            wanted = f"takes {exchange.request.method} {exchange.request.url}"
            place = _PLACES[exchange.on]
            return [Lie(exchange.name, wanted, f"cannot make this call: {error}", place, exchange.source)]
        refused = list(_refused(definition, played))
        return (
            refused or list(lies(definition, exchange, concluded)) or self._play_blurred(definition, exchange)
        )

    def _concluded(self, definition: ProviderDefinition, exchange: Exchange) -> tuple[Played, Conclusion]:
        known = Known.made_up()
        elsewhere = moved(definition, self._player.base_url)
        with self._player.playing(exchange, known) as played:
            return played, conclude(self._client, elsewhere, exchange, known)

    def _play_blurred(self, definition: ProviderDefinition, exchange: Exchange) -> list[Lie]:
        """A dead token's answer ends no grant once another sentence stands beside a general code."""
        other = blurred(definition, exchange)
        if other is None or self._concluded(definition, other)[1].outcome != "grant_rejected":
            return []
        place = row_of(definition, other.on, other.answer.status, other.answer.body)
        provider = "has this code for other reasons as well, and another sentence then"
        says = "ends the grant, whatever the sentence says"
        return [Lie(other.name, provider, says, f"judgements[{place}]: add where", other.source)]


def _refused(definition: ProviderDefinition, played: Played) -> Iterator[Lie]:
    exchange = played.exchange
    if not played.requests:
        wanted = f"takes {exchange.request.method} {exchange.request.url}"
        yield Lie(exchange.name, wanted, "sends nothing", _PLACES[exchange.on], exchange.source)
    for found in _once(played.discrepancies):
        yield Lie(
            exchange.name,
            f"insists on {found.insists}",
            f"makes it {found.did}",
            key_to_mend(definition, exchange, found),
            exchange.source,
        )


def _once(items: Iterable[Discrepancy]) -> list[Discrepancy]:
    return list(dict.fromkeys(items))
