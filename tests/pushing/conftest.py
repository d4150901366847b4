"""A world that receives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pushing.receiver import Receiver, receiving
from tests.services.conftest import away, world
from tests.services.world import World

__all__ = ["away", "world"]


@pytest.fixture
def receiver(world: World) -> Iterator[Receiver]:
    with receiving(world) as made:
        yield made
