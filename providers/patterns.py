"""The patterns that values of URL variables must match: a small, safe part of regular expressions.

A pattern is read before it is used, so that it can be said of every value that could ever match it where it
leads: which characters it may hold, and on which words a host name made of it may end. What cannot be read is
refused: a bare dot, classes that are negated or named (``\\w`` matches letters of every script), anchors,
look-arounds, back references.

Values come from outside, so they are matched without backtracking: in time that grows with their length, and
not, as the standard library's engine may need for a pattern like ``([a-z]+-?)+``, beyond all measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Final

#: What may stand for a piece of a path: the unreserved characters of RFC 3986 §2.3.
UNRESERVED: Final = frozenset(ascii_letters + digits + "-._~")
#: What may stand for a piece of a host name. Capitals are left out, so that one host has one spelling.
HOST: Final = frozenset(ascii_lowercase + digits + "-.")
#: No value of a variable is longer; a host name is not, either (RFC 1035 §2.3.4).
LONGEST: Final = 253
#: A pattern with more different endings than this is no list of hosts any more.
_MOST_ENDINGS: Final = 200
_REPEAT: Final = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{0,3}))?\}")
_RANGES: Final = (ascii_lowercase, ascii_uppercase, digits)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a value ends on.

    Attributes:
        whole: It is the whole value, and not only its end.
    """

    text: str
    whole: bool


@dataclass(frozen=True, slots=True)
class _Atom:
    """One character of several, or a choice of sequences; `low` to `high` times, `high` None: without end."""

    characters: frozenset[str]
    choices: tuple[tuple[_Atom, ...], ...]
    low: int
    high: int | None

    def endings(self) -> Iterator[Ending]:
        """Yield what one occurrence ends on."""
        if self.choices:
            for choice in self.choices:
                yield from _endings(choice)
        elif len(self.characters) == 1:
            yield Ending(next(iter(self.characters)), whole=True)
        else:
            yield Ending("", whole=False)


Choices = tuple[tuple[_Atom, ...], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read."""

    text: str
    characters: frozenset[str]
    endings: tuple[Ending, ...]
    choices: Choices = field(repr=False)

    def matches(self, value: str) -> bool:
        """Say whether the whole value is one that the pattern describes."""
        return len(value) <= LONGEST and _matches(self.text, value)


@lru_cache(maxsize=4096)
def _matches(text: str, value: str) -> bool:
    return len(value) in _behind(read(text).choices, value, {0})


def _behind(choices: Choices, value: str, places: set[int]) -> set[int]:
    """Return the places in the value that a choice may end at which begins at one of these."""
    found: set[int] = set()
    for sequence in choices:
        reached = places
        for atom in sequence:
            reached = _behind_atom(atom, value, reached)
        found |= reached
    return found


def _behind_atom(atom: _Atom, value: str, places: set[int]) -> set[int]:
    reached = places
    for _ in range(atom.low):
        reached = _behind_one(atom, value, reached)
    found, times = set(reached), atom.low
    # Whatever was reached with fewer repetitions need not be tried again with more.
    while reached and (atom.high is None or times < atom.high):
        reached = _behind_one(atom, value, reached) - found
        found |= reached
        times += 1
    return found


def _behind_one(atom: _Atom, value: str, places: set[int]) -> set[int]:
    if atom.choices:
        return _behind(atom.choices, value, places) if places else set()
    return {place + 1 for place in places if value[place : place + 1] in atom.characters}


@lru_cache(maxsize=512)
def read(text: str) -> Pattern:
    """Read a pattern.

    Raises:
        ValueError: It is none of the small language; says what is wrong and how to mend it.
    """
    reader = _Reader(text)
    choices = reader.choices()
    if reader.left:
        raise ValueError(f"has an unexpected {reader.left[0]!r}")
    characters: frozenset[str] = frozenset()
    endings = tuple({ending for choice in choices for ending in _endings(choice)})
    return Pattern(text, characters.union(*map(_characters, choices)), endings, choices)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    @property
    def left(self) -> str:
        return self._text[self._place :]

    def _take(self, count: int = 1) -> str:
        taken = self._text[self._place : self._place + count]
        self._place += count
        return taken

    def choices(self) -> Choices:
        found = [self._sequence()]
        while self.left.startswith("|"):
            self._take()
            found.append(self._sequence())
        return tuple(found)

    def _sequence(self) -> tuple[_Atom, ...]:
        atoms: list[_Atom] = []
        while self.left and self.left[0] not in "|)":
            characters, choices = self._atom()
            low, high = self._times()
            atoms.append(_Atom(characters, choices, low, high))
        if not atoms:
            raise ValueError("has an empty part, which would match a value without characters")
        return tuple(atoms)

    def _atom(self) -> tuple[frozenset[str], Choices]:
        match self._take():
            case "(":
                if self.left.startswith("?:"):
                    self._take(2)
                choices = self.choices()
                if self._take() != ")":
                    raise ValueError("has a group without its end ')'")
                return frozenset(), choices
            case "[":
                return self._class(), ()
            case "\\":
                return frozenset(self._escaped()), ()
            case ".":
                raise ValueError("has a bare '.', which matches everything; write \\. for a dot")
            case "^" | "$":
                raise ValueError("needs neither '^' nor '$': it must match the whole value anyway")
            case character if character in UNRESERVED:
                return frozenset(character), ()
            case character:
                raise ValueError(_not_allowed(character))

    def _escaped(self) -> str:
        character = self._take()
        if character not in ("-", ".", "_", "~"):
            raise ValueError(f"has \\{character}; only \\. and \\- may be written with a backslash")
        return character

    def _class(self) -> frozenset[str]:
        if self.left.startswith("^"):
            raise ValueError("has a negated class [^...]; list what is allowed instead")
        found: set[str] = set()
        while not self.left.startswith("]"):
            first = self._take()
            if not first:
                raise ValueError("has a class without its end ']'")
            first = self._escaped() if first == "\\" else first
            if len(self.left) > 1 and self.left[0] == "-" and self.left[1] != "]":
                self._take()
                found |= _range(first, self._take())
            elif first in UNRESERVED:
                found.add(first)
            else:
                raise ValueError(_not_allowed(first))
        self._take()
        if not found:
            raise ValueError("has an empty class []")
        return frozenset(found)

    def _times(self) -> tuple[int, int | None]:
        repeat = _REPEAT.match(self.left)
        match self.left[:1]:
            case "?":
                times: tuple[int, int | None] = (0, 1)
                self._take()
            case "*":
                times = (0, None)
                self._take()
            case "+":
                times = (1, None)
                self._take()
            case "{" if repeat is not None:
                low, comma, high = repeat.groups()
                times = (int(low), int(high) if high else None if comma else int(low))
                self._take(repeat.end())
            case _:
                return 1, 1
        if self.left[:1] in ("?", "*", "+", "{"):
            raise ValueError("has a repetition of a repetition")
        return times


def _range(first: str, last: str) -> frozenset[str]:
    for known in _RANGES:
        if first in known and last in known and known.index(first) <= known.index(last):
            return frozenset(known[known.index(first) : known.index(last) + 1])
    raise ValueError(f"has the range {first}-{last}; ranges lie within a-z, A-Z or 0-9")


def _not_allowed(character: str) -> str:
    return f"has {character!r}; values may hold letters, digits, '-', '.', '_' and '~' alone"


def _characters(sequence: tuple[_Atom, ...]) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for atom in sequence:
        found |= atom.characters
        for choice in atom.choices:
            found |= _characters(choice)
    return found


def _endings(sequence: tuple[_Atom, ...]) -> tuple[Ending, ...]:
    """Return what a sequence may end on, read from its end for as long as that is certain."""
    known: set[Ending] = {Ending("", whole=True)}
    for atom in reversed(sequence):
        longer: set[Ending] = set()
        for ending in known:
            if not ending.whole:
                longer.add(ending)
                continue
            if atom.low == 0:
                longer.add(ending)
            if (atom.low, atom.high) in ((1, 1), (0, 1)):
                longer |= {Ending(before.text + ending.text, before.whole) for before in atom.endings()}
            else:
                longer.add(Ending(ending.text, whole=False))
        known = longer
        if len(known) > _MOST_ENDINGS:
            return (Ending("", whole=False),)
    return tuple(known)
