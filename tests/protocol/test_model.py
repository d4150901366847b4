"""The protocol under every interleaving that the search finds, and without its safeguards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.protocol.judge import Rare, Violation, Wrong
from tests.protocol.machine import ProtocolMachine
from tests.protocol.mutants import Mutant
from tests.protocol.provider import Kind

#: The same search every time that the same modules are loaded; hypothesis draws on the constants in them.
#: A violation is shrunk to the fewest moves that bring it about.
SEARCH: Final = settings(
    max_examples=300,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
#: Mutants must be found, not explained.
HUNT: Final = settings(SEARCH, max_examples=20_000, phases=[Phase.generate])


def search(
    how: settings, *, kinds: Iterable[Kind] = Kind, mutants: frozenset[Mutant] = frozenset()
) -> Counter[Rare]:
    """Search, and count what is allowed but rare; raises the violation that is found."""
    seen: Counter[Rare] = Counter()

    class Machine(ProtocolMachine):
        def teardown(self) -> None:
            super().teardown()
            seen.update(self.world.judge.counts)

    Machine.kinds, Machine.mutants = tuple(kinds), mutants
    run_state_machine_as_test(Machine, settings=how)
    return seen


@pytest.fixture(scope="module")
def seen() -> Counter[Rare]:
    return sum((search(SEARCH, kinds=[kind]) for kind in Kind), Counter())


def test_no_interleaving_breaks_a_promise(seen: Counter[Rare]) -> None:
    """A thousand histories and more, of three workers that are stopped, killed, cut off and answered late."""
    assert seen.total() > 0


#: So rare that a search of seconds may miss them: `test_interleavings.py` leads there.
TOO_RARE: Final = {Rare.OVERTAKEN, Rare.PROMOTED, Rare.RAISED_THE_DEAD}


@pytest.mark.parametrize("rare", sorted(set(Rare) - TOO_RARE), ids=lambda rare: rare.name.lower())
def test_the_search_reaches_what_is_rare(seen: Counter[Rare], rare: Rare) -> None:
    """A promise that holds only because nothing ever happened would not be one."""
    assert seen[rare] > 0


@pytest.mark.parametrize(
    ("mutant", "kinds"),
    [
        (Mutant.NO_VERSION_FENCE, {Wrong.OVERWRITTEN}),
        (Mutant.NO_DEATH_FENCE, {Wrong.KILLED}),
        (Mutant.NO_LEASE_CHECK, {Wrong.CONCURRENT, Wrong.STALE, Wrong.SPENT}),
        (Mutant.UNRESOLVED_IS_CLAIMED, {Wrong.CONCURRENT, Wrong.SPENT}),
        (Mutant.NO_GRANT_FENCE, {Wrong.WRONG_GRANT}),
        (Mutant.WALL_CLOCK, {Wrong.CONCURRENT, Wrong.STALE, Wrong.SPENT}),
        (Mutant.NO_SETTLING, {Wrong.CONCURRENT, Wrong.SPENT}),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Mutant) else "",
)
def test_what_is_taken_out_is_missed(mutant: Mutant, kinds: set[Wrong]) -> None:
    """Without any one of its safeguards the protocol is found broken, as the safeguard said it would be."""
    with pytest.raises(Violation) as found:
        search(HUNT, mutants=frozenset({mutant}))

    assert found.value.kind in kinds
