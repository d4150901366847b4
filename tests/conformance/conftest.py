"""A player and the real client, once for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.http import Wire
from scripts.conformance.running import Stage
from simulator.playing.player import Player


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    wire = Wire()
    with Player() as player:
        yield Stage(player, wire)
        assert player.strays == []
    wire.close()
