"""The model is worth what it shares with the SQL: both are put through the same calls and compared."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

import pytest

from tests.protocol.likeness import compare
from tests.protocol.mutants import Mutant
from tests.protocol.twins import CALLS, Twins
from tests.storage.conftest import bench
from tests.storage.making import Bench

__all__ = ["bench"]
pytestmark = pytest.mark.servers
HISTORIES: Final = 40
STEPS: Final = 25
#: Safeguards of the store's own. Without one of them the model is another store.
FENCES: Final = (
    *(Mutant.NO_VERSION_FENCE, Mutant.NO_DEATH_FENCE, Mutant.UNRESOLVED_IS_CLAIMED, Mutant.NO_GRANT_FENCE),
    *(Mutant.RIVALS_IGNORED, Mutant.RECOVERY_AS_FOUND),
)


def live(twins: Twins, random: Random) -> None:
    """Make some calls, mostly such as tell something, and compare after each."""
    compare(twins)
    for _ in range(STEPS):
        call = random.choice(twins.telling() if random.random() < 0.9 else CALLS)
        twins.make(call, random.randrange(42), random.randrange(42))
        compare(twins)


def test_the_model_does_what_the_store_does(bench: Bench) -> None:
    """After every call, state, tokens, spares and who may claim are the same in the model and in Postgres."""
    told: Counter[str] = Counter()

    for seed in range(HISTORIES):
        twins = Twins(bench, f"{seed}")
        try:
            live(twins, Random(seed))
        except AssertionError as difference:
            difference.add_note(f"seed {seed}: {' '.join(twins.log)}")
            raise
        told.update(twins.log)

    # Whatever has another result when it is called at another time has had both.
    assert {word for word in told if told[word] > 1} >= {
        *("claim:yes", "claim:no", "recover:yes", "recover:no", "mark:yes", "mark:no"),
        *("release:yes", "release:no", "fail:yes", "fail:no", "promote:yes", "promote:no"),
        *("land:Landed", "land:AlreadyLanded", "land:Superseded", "land:Gone"),
        *("connect:replaced", "connect:kept", "connect:refused"),
    }, told


@pytest.mark.parametrize("mutant", FENCES, ids=lambda mutant: mutant.name.lower())
def test_a_fence_that_is_missing_makes_a_difference(bench: Bench, mutant: Mutant) -> None:
    """The comparison would see it if the store had lost one of its fences, and the model not."""

    def live_without() -> None:
        for seed in range(HISTORIES):
            twins = Twins(bench, f"{seed}")
            twins.model.mutants = frozenset({mutant})
            live(twins, Random(seed))

    with pytest.raises(AssertionError):
        live_without()
