"""A broker for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.world import Broker


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    """An empty broker."""
    broker = Broker(redis_url)
    yield broker
    broker.close()
