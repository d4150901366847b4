"""Key rotation: elect the ring's first key, seal everything anew with it, and say which keys nobody needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from domain.errors import ConfigurationError, EvergrantError
from storage.elections import Election, Elections, lacks_agreed
from storage.keys import VARIABLE, KeyRing, id_of
from storage.processes import Process, ProcessStore
from storage.resealing import Broken, OnProgress, Resealed, Resealer

#: How long a rotation waits for others: a process that says nothing counts as dead after half of it.
PATIENCE: Final = timedelta(minutes=2)
#: Between two looks at what others still do.
LOOK: Final = 0.5


class Watch(Protocol):
    """Who shows a rotation's progress."""

    def passing(self, name: str, count: int) -> OnProgress:
        """Begin a pass over so many entries of a place; returns what to call while it goes on."""

    def waiting(self, processes: Sequence[Process]) -> None:
        """Tell that these processes have not left the former keys yet; called again while it lasts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rotation would do.

    Attributes:
        key_id: The key that is to seal.
        agreed: The one that seals now; None: no process has started yet.
        lacking: The living processes that prevent the election.
        needed: Place → key → how many of its entries need the key.
    """

    key_id: str
    agreed: str | None
    lacking: tuple[Process, ...]
    needed: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a rotation came to.

    Attributes:
        elected: Whether the key began to seal by this call.
        resealed: Place → how many of its entries were sealed anew.
        held: Entries that somebody else held or wrote at each pass for two minutes; another run meets them.
        broken: Entries that no key of the ring opens, the first ones of each place.
        broken_count: All of these.
        behind: The living processes that have not left the former keys.
        silent: Processes that do not report any more and never said that they had left the former keys.
        needed: Key → how many entries need it, staged answers of others included.
        removable: Keys of the ring that nothing needs.
    """

    key_id: str
    elected: bool
    resealed: Mapping[str, int]
    held: int
    broken: tuple[Broken, ...]
    broken_count: int
    behind: tuple[Process, ...]
    silent: tuple[Process, ...]
    needed: Mapping[str, int]
    removable: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything is sealed with the key, and nobody seals with another one."""
        return not (self.held or self.broken_count or self.behind)


@dataclass(slots=True)
class _Tally:
    resealed: Counter[str] = field(default_factory=Counter)
    last: dict[str, Resealed] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(result.moved for result in self.last.values())


class Rotation:
    """Made for one call. May be killed at any moment and begun again; two at once do no harm."""

    def __init__(
        self,
        elections: Elections,
        processes: ProcessStore,
        ring: KeyRing,
        resealers: Sequence[Resealer],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._elections = elections
        self._processes = processes
        self._ring = ring
        self._resealers = resealers
        self._sleep = sleep
        self._clock = clock
        self._key_id = ring.sealing_id
        self._key = ring.fingerprints[0]

    def plan(self) -> Plan:
        """Say what `run` would do. Reads every table; changes nothing. Raises `ServiceUnavailable`."""
        agreed = self._elections.read()
        lacking = () if agreed.key == self._key else self._elections.lacking(self._key)
        needed = {resealer.name: resealer.keys() for resealer in self._resealers}
        return Plan(self._key_id, agreed.key_id, lacking, needed)

    def run(self, watch: Watch, *, lost: str | None = None, patience: timedelta = PATIENCE) -> Report:
        """Elect the ring's first key, and seal everything with it.

        Args:
            lost: The agreed key, where it is lost for good and the ring cannot hold it.
            patience: How long to wait for others to leave the former keys; none of it ends with the first
                round, and no key is called removable then while anybody is behind.

        Raises:
            ConfigurationError: The ring lacks the agreed key.
            EvergrantError: A living process lacks the ring's first key; nothing was changed.
            ServiceUnavailable: Postgres does not answer; begin again.
        """
        former = self._elections.join(self._key).key
        self._check(former, lost)
        election = self._elections.elect(self._key, former_too=True)
        if election.lacking:
            raise EvergrantError(_not_elected(self._key, election))
        give_up_at = self._clock() + patience.total_seconds()
        tally = _Tally()
        behind = self._behind()
        self._passes(tally, watch)
        while behind and self._clock() < give_up_at:
            watch.waiting(behind)
            self._sleep(LOOK)
            behind = self._behind()
            if not behind:
                # What they sealed until then is met by a pass that begins after they have all said so.
                self._passes(tally, watch)
        return self._report(tally, behind, elected=former != self._key)

    def _check(self, agreed: str | None, lost: str | None) -> None:
        if lost is not None and lost in self._ring.ids:
            raise ConfigurationError(f"--lost: {VARIABLE} holds {lost!r}, so it is not lost")
        if agreed is not None and agreed not in self._ring.fingerprints and id_of(agreed) != lost:
            raise lacks_agreed(agreed)

    def _passes(self, tally: _Tally, watch: Watch) -> None:
        """Pass over every place until nothing is left that somebody held at that moment."""
        give_up_at = self._clock() + PATIENCE.total_seconds()
        for resealer in self._resealers:
            while True:
                result = resealer.reseal(self._key_id, watch.passing(resealer.name, resealer.count()))
                tally.resealed[resealer.name] += result.resealed
                tally.last[resealer.name] = result
                if result.moved == 0 or self._clock() >= give_up_at:
                    break
                self._sleep(LOOK)

    def _behind(self) -> tuple[Process, ...]:
        return tuple(
            process
            for process in self._processes.all()
            if process.living and (process.sealing_key_id != self._key_id or self._staged(process))
        )

    def _staged(self, process: Process) -> set[str]:
        """Return the other keys that answers staged by the process need."""
        return set(process.staged_key_ids) - {self._key_id}

    def _report(self, tally: _Tally, behind: tuple[Process, ...], *, elected: bool) -> Report:
        needed: Counter[str] = Counter()
        for resealer in self._resealers:
            needed.update(resealer.keys())
        processes = self._processes.all()
        for process in processes:
            # A dead one as well: what it has staged waits for whoever lands it.
            if process.living or process.staged:
                needed.update(dict.fromkeys(self._staged(process), 1))
        results = tally.last.values()
        settled = not behind and tally.held == 0
        return Report(
            key_id=self._key_id,
            elected=elected,
            resealed=tally.resealed,
            held=tally.held,
            broken=tuple(broken for result in results for broken in result.broken),
            broken_count=sum(result.broken_count for result in results),
            behind=behind,
            silent=tuple(
                process
                for process in processes
                if not process.living and process.gone_at is None and process.sealing_key_id != self._key_id
            ),
            needed=needed,
            removable=tuple(
                key_id for key_id in self._ring.ids if key_id != self._key_id and not needed[key_id]
            )
            if settled
            else (),
        )


def named(processes: Sequence[Process]) -> str:
    """Return processes as a person looks for them: role and host, each once."""
    return ", ".join(dict.fromkeys(f"{process.role} on {process.host}" for process in processes))


def _not_elected(key: str, election: Election) -> str:
    return (
        f"nothing was changed: {key!r} cannot seal yet, because these processes lack it, or hold another one "
        f"of its id: {named(election.lacking)}; restart them with {id_of(key)!r} in {VARIABLE}, the same key "
        "everywhere"
    )
