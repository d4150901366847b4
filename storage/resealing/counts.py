"""What every place that holds sealed values offers to a key rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

#: Broken entries beyond these are counted and not named.
NAMED: Final = 1000

OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry that no key of the ring opens. It was left as it is.

    Attributes:
        place: The table, or another place's name.
        entry: The entry's id in it.
        why: Without any secret.
    """

    place: str
    entry: str
    why: str


@dataclass(slots=True)
class Resealed:
    """What one pass over a place came to.

    Attributes:
        seen: Entries that were looked at.
        resealed: Entries that are sealed with the wanted key now and were not before.
        moved: Entries that somebody else wrote or held at that moment; the next pass meets them again.
        broken: Entries that could not be opened, the first `NAMED` of them.
        broken_count: All of these.
    """

    seen: int = 0
    resealed: int = 0
    moved: int = 0
    broken: list[Broken] = field(default_factory=list)
    broken_count: int = 0

    def add_broken(self, broken: Broken) -> None:
        """Count an entry that could not be opened, and remember the first ones."""
        self.broken_count += 1
        if len(self.broken) < NAMED:
            self.broken.append(broken)


class Resealer(Protocol):
    """A place that holds sealed values. Its methods raise `ServiceUnavailable`."""

    @property
    def name(self) -> str:
        """What people call the place, in the plural."""

    def count(self) -> int:
        """Return how many entries there are at this moment."""

    def keys(self) -> Mapping[str, int]:
        """Return how many entries need each key; an entry that needs several counts for each."""

    def reseal(self, key_id: str, on_progress: OnProgress) -> Resealed:
        """Pass over everything once, and seal with this key whatever is sealed with another one.

        Args:
            on_progress: Called now and then with the number of entries looked at since the last call.
        """
