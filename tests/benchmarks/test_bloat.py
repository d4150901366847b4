"""How the sizes after many refresh cycles are judged."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bloat import SETTLED, judged


def looks(*, growing: str | None = None) -> list[dict[str, Any]]:
    """A look before the first cycle and after each of 50; sizes rise until they have settled."""
    return [
        {
            "cycle": cycle,
            "bytes": {
                name: 1000 + 100 * min(cycle, SETTLED) + (6 * cycle if name == growing else 0)
                for name in ("tokens", "pk_tokens")
            }
            | {"toast": 0},
            "updates": 7 + 300 * cycle,
            "updates_in_place": 5 + 190 * cycle,
            "autovacuums": cycle,
        }
        for cycle in range(51)
    ]


def test_what_has_settled_is_flat() -> None:
    """Growth before the tenth cycle is not counted, and an empty relation has none."""
    found = judged(looks())

    assert found["growth_since"] == {"tokens": 1.0, "pk_tokens": 1.0, "toast": None}
    assert (found["whole_growth_since"], found["kept"]) == (1.0, True)


@pytest.mark.parametrize("grown", ["tokens", "pk_tokens"])
def test_one_that_grows_is_enough(grown: str) -> None:
    """A table or an index that goes on growing by more than a twentieth is not flat."""
    found = judged(looks(growing=grown))

    assert found["growth_in_the_second_half"][grown] > 1.05
    assert not found["kept"]


@pytest.mark.parametrize(("more", "kept"), [(150, True), (300, False)])
def test_a_step_after_settling_counts_by_the_whole(more: int, kept: bool) -> None:
    """A few pages that one index took once are forgiven where all together have stayed the same."""
    found = looks()
    for look in found[SETTLED + 5 :]:
        look["bytes"]["pk_tokens"] += more

    assert judged(found)["growth_in_the_second_half"]["pk_tokens"] == 1.0
    assert judged(found)["kept"] is kept


def test_the_share_in_place_is_of_the_cycles() -> None:
    """What was updated before the first cycle does not count."""
    assert judged(looks())["share_of_updates_in_place"] == round(190 / 300, 4)
